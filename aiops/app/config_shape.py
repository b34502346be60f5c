"""Questions about a pydantic model: which keys stand where, and what is expected at a path."""

import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import isclass
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from aiops.app.config_file import Path
from aiops.kit.secrets import is_secret_name

_LISTS = (list, tuple, set, frozenset, Sequence)
_MAPPINGS = (dict, Mapping)


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Keys as a file spells them, with their fields."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def types_at(annotation: object, path: Path) -> list[object]:
    """Every type that may stand at ``path`` below ``annotation``; none when the path leads nowhere."""
    found = list(_alternatives(annotation))
    for part in path:
        found = [inner for outer in found for inside in _inside(outer, part) for inner in _alternatives(inside)]
    return found


def names_at(annotation: object, path: Path) -> list[str]:
    """Keys that are valid at ``path``."""
    models = [kind for kind in types_at(annotation, path) if isclass(kind) and issubclass(kind, BaseModel)]
    return sorted({name for model in models for name in keys_of(model)})


def is_compound(kinds: Sequence[object]) -> bool:
    """Whether only lists and mappings are expected, so that text must be read as YAML."""
    return bool(kinds) and all(
        get_origin(kind) in (*_LISTS, *_MAPPINGS) or (isclass(kind) and issubclass(kind, BaseModel))
        for kind in kinds
        if kind is not type(None)
    )


def is_secret(annotation: object, path: Path) -> bool:
    """Whether what stands at ``path`` must never be shown: by its type, or by its name."""
    named = next((part for part in reversed(path) if isinstance(part, str)), "")
    return SecretStr in types_at(annotation, path) or is_secret_name(named)


def suggestion(name: str, names: Sequence[str]) -> str:
    """``did you mean 'interval'?``, or the list of what is known when nothing is near."""
    near = get_close_matches(name.lower().replace("-", "_"), names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; expected one of {', '.join(names)}" if names else ""


def _alternatives(annotation: object) -> Iterator[object]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _alternatives(argument)
    else:
        yield annotation


def _inside(annotation: object, part: str | int) -> list[object]:
    if isclass(annotation) and issubclass(annotation, BaseModel):
        field = keys_of(annotation).get(str(part))
        return [field.annotation] if field else []
    arguments = get_args(annotation)
    if get_origin(annotation) in _MAPPINGS:
        return [arguments[1]]
    return [arguments[0]] if get_origin(annotation) in _LISTS and isinstance(part, int) else []
