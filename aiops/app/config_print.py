"""The configuration in effect as YAML that loads again: each value with its origin, nothing secret."""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

from aiops.app.config_file import Path
from aiops.app.config_load import Loaded
from aiops.app.config_shape import is_secret
from aiops.kit.secrets import MASK, redact
from aiops.kit.text import printable

Model = TypeVar("Model", bound=BaseModel)


def effective(loaded: Loaded[Model]) -> dict[str, Any]:
    """All values as JSON-able data. Secrets are masked; text that held ``${NAME}`` is as it was written."""
    model = type(loaded.config)

    def shown(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: shown(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [shown(inner, (*path, index)) for index, inner in enumerate(value)]
        if path in loaded.references:
            return redact(loaded.references[path])
        if isinstance(value, str) and value:
            return MASK if is_secret(model, path) else redact(value)
        return value

    data: dict[str, Any] = shown(loaded.config.model_dump(mode="json", by_alias=True), ())
    return data


def to_yaml(loaded: Loaded[Model]) -> str:
    """The same as YAML; a comment names the origin of every value that is not a default."""
    return "".join(f"{line}\n" for line in _mapping(effective(loaded), (), loaded, ""))


def _mapping(data: dict[str, Any], path: Path, loaded: Loaded[Model], indent: str) -> Iterator[str]:
    for key, value in data.items():
        here = (*path, key)
        name = key if key.isidentifier() else _literal(key)
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _mapping(value, here, loaded, indent + "  ")
        elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            yield f"{indent}{name}:"
            for index, item in enumerate(value):
                yield from _item(item, (*here, index), loaded, indent + "  ")
        else:
            yield f"{indent}{name}: {_literal(value)}{_comment(here, loaded)}"


def _item(item: Any, path: Path, loaded: Loaded[Model], indent: str) -> Iterator[str]:
    if not isinstance(item, dict) or not item:
        yield f"{indent}- {_literal(item)}{_comment(path, loaded)}"
        return
    lines = _mapping(item, path, loaded, indent + "  ")
    yield f"{indent}- {next(lines).removeprefix(indent + '  ')}"
    yield from lines


def _literal(value: Any) -> str:
    # Every JSON text is YAML: quoting is never a question.
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return str(value) if plain else printable(json.dumps(value, ensure_ascii=False))


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*|(?:[0-9]+[A-Za-z]+)+")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def _comment(path: Path, loaded: Loaded[Model]) -> str:
    origin = loaded.origin(path)
    return "" if origin == "default" else f"  # {printable(origin)}"
