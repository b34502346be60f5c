"""The page's own files, read once at start: nothing that a request says becomes a path on disk."""

import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from aiohttp import web

_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
_WORTH_PACKING = 1024


class StaticFile(NamedTuple):
    """One file as it is sent."""

    body: bytes
    packed: bytes
    etag: str
    content_type: str


def load(folder: Traversable | None = None) -> Mapping[str, StaticFile]:
    """Every file that a browser may ask for, by its path below the folder (default: ``aiops/web/static``)."""
    return dict(_walk(folder or files("aiops.web") / "static", ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, StaticFile]]:
    found = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        content_type = _TYPES.get(name.rpartition(".")[2])
        if entry.is_dir():
            found += _walk(entry, f"{name}/")
        elif content_type is not None:
            body = entry.read_bytes()
            packed = gzip.compress(body, mtime=0) if len(body) > _WORTH_PACKING else b""
            found.append((name, StaticFile(body, packed, hashlib.sha256(body).hexdigest()[:16], content_type)))
    return found


def answer(request: web.Request, file: StaticFile) -> web.Response:
    """Send a file, or 304 when the browser has it; it must ask each time, so an upgrade shows at once."""
    headers = {"Cache-Control": "no-cache", "ETag": f'"{file.etag}"', "Vary": "Accept-Encoding"}
    if any(tag.value in (file.etag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    packed = bool(file.packed) and "gzip" in request.headers.get("Accept-Encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        body=file.packed if packed else file.body, headers=headers, content_type=file.content_type, charset="utf-8"
    )
