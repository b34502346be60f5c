"""``aiops dashboards``: write the boards to a folder, or hand them to a Grafana."""

import json
import urllib.error
import urllib.request
from argparse import Namespace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import yaml

from aiops.app.boards import boards
from aiops.app.commands.client import token_in
from aiops.app.output import CommandFailedError, Exit, say
from aiops.render.grafana import Board, as_json, as_text

_LARGEST_ANSWER_BYTES = 1024 * 1024


def export(args: Namespace) -> int:
    """``aiops dashboards export DIR``."""
    folder: Path = args.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for board in _chosen(args):
            path = folder / f"{board.uid}.{'yaml' if args.configmaps else 'json'}"
            path.write_text(config_map(board) if args.configmaps else as_text(board), encoding="utf-8")
            say(f"wrote {path}")
    except OSError as error:
        raise CommandFailedError(f"{error.filename or folder}: {error.strerror or error}") from None
    return Exit.OK


def push(args: Namespace) -> int:
    """``aiops dashboards push --url URL``; boards of the same uid are replaced."""
    token = "" if args.token_file is None else token_in(args.token_file)
    for board in _chosen(args):
        body: dict[str, Any] = {"dashboard": as_json(board), "overwrite": True, "message": "aiops dashboards push"}
        if args.grafana_folder:
            body["folderUid"] = args.grafana_folder
        _post(f"{args.grafana.rstrip('/')}/api/dashboards/db", body, token, args.timeout)
        say(f"pushed {board.uid}")
    return Exit.OK


def config_map(board: Board) -> str:
    """The board as a ConfigMap with the label that Grafana's sidecar looks for."""
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": board.uid,
            "labels": {"grafana_dashboard": "1", "app.kubernetes.io/name": "aiops"},
            "annotations": {"grafana_folder": "aiops"},
        },
        "data": {f"{board.uid}.json": json.dumps(as_json(board), separators=(",", ":"))},
    }
    return yaml.safe_dump(document, sort_keys=False, width=10**9)


def _chosen(args: Namespace) -> list[Board]:
    found = {board.uid: board for board in boards()}
    if unknown := [uid for uid in args.only if uid not in found]:
        raise CommandFailedError(f"no board {', '.join(unknown)}; there are {', '.join(found)}")
    chosen = [found[uid] for uid in args.only] or list(found.values())
    return [board.with_link("aiops page", args.page_url) for board in chosen] if args.page_url else chosen


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A login page is no success, and a token is for one host only."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def _post(url: str, body: dict[str, Any], token: str, timeout: float) -> None:
    if not url.startswith(("http://", "https://")):
        raise CommandFailedError(f"{url}: expected a URL that starts with http:// or https://")
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - checked above
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout) as answer:
            answer.read(_LARGEST_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        said = error.read(500).decode("utf-8", "replace").strip()
        raise CommandFailedError(f"{url} answered {error.code}: {said!r}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise CommandFailedError(f"{url}: {getattr(error, 'reason', error)}") from None
