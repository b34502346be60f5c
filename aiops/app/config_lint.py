"""Settings that are valid and yet unwise. Each finding has a stable code, so that a pipeline may look for it."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr

from aiops.app.config_file import Path, dotted
from aiops.app.config_load import Loaded, Sources
from aiops.app.config_shape import is_secret, keys_of, names_at, types_at
from aiops.kit.text import printable

Model = TypeVar("Model", bound=BaseModel)

# What the CLI prints beside a finding, and the reference documents.
CODES = {
    "C001": "a deprecated setting is used",
    "C002": "a secret stands in the file itself",
    "C003": "a file that holds secrets is readable by everybody",
    "C004": "credentials travel without TLS",
    "C005": "the server listens beyond this machine and asks for no credentials",
    "C006": "TLS accepts any certificate",
    "C007": "a file that is named does not exist",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding: code, where the setting stands, which it is, what to do instead."""

    code: str
    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.key}: {CODES[self.code]}; {self.message} [{self.code}]")


def lint(loaded: Loaded[Model], sources: Sources) -> list[Advice]:
    """Everything unwise in a valid configuration, in the order of its settings."""
    found = [Advice(code, loaded.origin(path), dotted(path), text) for code, path, text in _walk(loaded)]
    plain = [advice for advice in found if advice.code == "C002"]
    if plain and sources.file is not None and sources.file.stat().st_mode & stat.S_IROTH:
        found.append(
            Advice("C003", str(sources.file), plain[0].key, "set the file's mode to 0600, or move the secret out")
        )
    return found


def _walk(loaded: Loaded[Model]) -> Iterator[tuple[str, Path, str]]:
    for path, value in _values(loaded.config, ()):
        if path not in loaded.origins:
            continue
        if note := _deprecation(type(loaded.config), path):
            yield "C001", path, note
        in_file = loaded.origin(path).startswith(f"{loaded.file_name}:") if loaded.file_name else False
        if isinstance(value, FilePath) and _must_exist(str(path[-1])) and not value.is_file():
            yield "C007", path, "until it is there, whatever needs it fails"
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str | bool):
            continue
        if text and in_file and path not in loaded.references and is_secret(type(loaded.config), path):
            beside = f"{path[-1]}_file"
            or_file = f" or use {beside}" if beside in names_at(type(loaded.config), path[:-1]) else ""
            yield "C002", path, f"write ${{NAME}}{or_file}"
        if isinstance(text, str) and text.startswith("http://") and "@" in text.split("/", 3)[2]:
            yield "C004", path, "user and password go over the wire in the clear; use https"
        local = str(text).startswith(("127.", "[::1]", "localhost:"))
        if path == ("web", "listen_address") and not local and not _asks(loaded.config):
            yield "C005", path, "only /metrics will be open; set web.tokens, or users in web.config_file"
        if path[-1] == "insecure_skip_verify" and text is True:
            yield "C006", path, "name the certificate authority in ca_file instead"


def _asks(config: BaseModel) -> bool:
    web = getattr(config, "web", None)
    return bool(getattr(web, "tokens", ()) or getattr(web, "config_file", None))


def _must_exist(name: str) -> bool:
    return name.endswith("_file") or name == "manifest"


def _values(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, BaseModel):
        for key, field in keys_of(type(value)).items():
            name = next(name for name, known in type(value).model_fields.items() if known is field)
            yield from _values(value.__dict__[name], (*path, key))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _values(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _values(inner, (*path, index))
    else:
        yield path, value


def _deprecation(model: type[BaseModel], path: Path) -> str:
    parents = types_at(model, path[:-1]) if path else []
    for parent in parents:
        if isinstance(parent, type) and issubclass(parent, BaseModel):
            field = keys_of(parent).get(str(path[-1]))
            if field is not None and field.deprecated:
                return field.deprecated if isinstance(field.deprecated, str) else "is deprecated"
    return ""
