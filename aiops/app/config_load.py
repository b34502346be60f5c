"""Configuration from four layers: flag over ``AIOPS_…`` variable over file over default.

Works on any pydantic model, so a section joins with one line in :mod:`aiops.app.config`. All problems are found in
one go, each with its file and line, variable or flag. What was secret stays out of every message.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from aiops.app.config_file import LARGEST_FILE_BYTES, Document, Path, Problem, dotted, parse
from aiops.app.config_shape import is_compound, is_secret, keys_of, names_at, suggestion, types_at
from aiops.kit.files import read_limited
from aiops.kit.secrets import Redactor, UnsetVariableError, expand, is_secret_name, redact, register
from aiops.kit.text import clipped

PREFIX = "AIOPS_"
Model = TypeVar("Model", bound=BaseModel)
_MOST_SHOWN = 50
_SUBJECT = re.compile(r"^\w+ should")


class ConfigError(ValueError):
    """The configuration cannot be used; ``problems`` lists everything found, in order."""

    def __init__(self, problems: list[Problem]) -> None:
        shown = [str(problem) for problem in problems[:_MOST_SHOWN]]
        if len(problems) > _MOST_SHOWN:
            shown.append(f"… and {len(problems) - _MOST_SHOWN} more")
        super().__init__("\n".join(shown))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Override:
    """One value from a flag or a variable: where it goes, what it is, how to name its origin."""

    path: Path
    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the layers come from; kept by the daemon, so that a reload reads the same ones again."""

    file: FilePath | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    flags: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Model]):
    """A valid configuration that knows where each value came from.

    Attributes
    ----------
    origins
        ``aiops.yaml:12``, ``AIOPS_SCRAPE__INTERVAL`` or ``--log.level`` for every path that a layer set.
    references
        Text as written, for values that hold ``${NAME}``; printed instead of what the variable holds.
    file_name
        The file as messages call it; empty without one.
    """

    config: Model
    file_name: str
    origins: Mapping[Path, str]
    references: Mapping[Path, str]

    def origin(self, path: Path) -> str:
        """Where the value at ``path`` came from; ``default`` when no layer set it or what holds it."""
        return _nearest(self.origins, path) or "default"


def load(model: type[Model], sources: Sources) -> Loaded[Model]:
    """Read all layers and validate them as one.

    Raises
    ------
    ConfigError
        With every problem found; nothing of the configuration is usable then.
    """
    layers = _Layers(model, sources)
    layers.read_file()
    for override in (*layers.variables(), *sources.flags):
        layers.apply(override)
    config = layers.validate()
    if config is None or layers.problems:
        raise ConfigError(layers.redacted_problems())
    register(*_secrets(config))
    return Loaded(config, str(sources.file or ""), layers.origins, layers.references)


class _Layers(Generic[Model]):
    def __init__(self, model: type[Model], sources: Sources) -> None:
        self._model = model
        self._sources = sources
        self._expanded = Redactor()
        self._told: set[Path] = set()
        self.data: dict[str, Any] = {}
        self.origins: dict[Path, str] = {}
        self.references: dict[Path, str] = {}
        self.problems: list[Problem] = []

    def read_file(self) -> None:
        file = self._sources.file
        if file is None:
            return
        try:
            document = parse(read_limited(file, LARGEST_FILE_BYTES), str(file))
        except OSError as error:
            document = Document(str(file), problems=[Problem(str(file), "", f"cannot be read: {error.strerror}")])
        except ValueError as error:
            document = Document(str(file), problems=[Problem("", "", str(error))])
        self.problems += document.problems
        self.origins.update((path, f"{document.name}:{line}") for path, line in document.lines.items())
        self.data = self._expand(document.data, ())

    def _expand(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {
                key: self._expand(inner, (*path, key))
                for key, inner in value.items()
                if not self._empty(inner, (*path, key))
            }
        if isinstance(value, list):
            return [self._expand(inner, (*path, index)) for index, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        text = self._text(value, path) if "$" in value else value
        kinds = types_at(self._model, path)
        if FilePath in kinds and str not in kinds and self._sources.file is not None:
            return str(self._sources.file.absolute().parent / text)  # wherever the daemon happens to start
        return text

    def _text(self, value: str, path: Path) -> str:
        try:
            text, names = expand(value, self._sources.environ)
        except UnsetVariableError as error:
            self.problems.append(Problem(_nearest(self.origins, path), dotted(path), str(error)))
            self._told.add(path)
            return value
        if names:
            self.references[path] = value
        for name in names:
            self._expanded.register(self._sources.environ.get(name, ""))
            if is_secret_name(name):
                register(self._sources.environ.get(name, ""))
        return text

    def _empty(self, value: object, path: Path) -> bool:
        # A section whose lines are all commented out is an empty section, as Prometheus users expect.
        kinds = types_at(self._model, path) if value is None else []
        return is_compound(kinds) and type(None) not in kinds

    def variables(self) -> Iterator[Override]:
        """``AIOPS_SECTION__KEY`` for every key, in any depth.

        Without ``__`` only names of top-level keys count: Kubernetes sets ``AIOPS_SERVICE_HOST`` and the like in
        every pod beside a service called aiops. An empty variable counts as not set.
        """
        for name, value in sorted(self._sources.environ.items()):
            path: Path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            if not name.startswith(PREFIX) or not value or (len(path) == 1 and path[0] not in keys_of(self._model)):
                continue
            kinds = types_at(self._model, path)
            if not kinds:
                self._unknown(name, path)
            elif is_compound(kinds):
                document = parse(b"value: " + value.encode(errors="surrogateescape"), name)
                self.problems += [Problem(name, dotted(path), problem.message) for problem in document.problems]
                if not document.problems:
                    yield Override(path, document.data.get("value"), name)
            else:
                yield Override(path, value, name)

    def _unknown(self, name: str, path: Path) -> None:
        depth = next(depth for depth in range(len(path)) if not types_at(self._model, path[: depth + 1]))
        hint = suggestion(str(path[depth]), names_at(self._model, path[:depth]))
        self.problems.append(Problem(name, dotted(path[: depth + 1]), f"unknown key{hint}"))

    def apply(self, override: Override) -> None:
        """Put a value over whatever the lower layers have there."""
        *parents, last = override.path
        place: Any = self.data
        for part in parents:
            # Something that is no mapping stands there: the file is wrong, and validation will say so.
            if not isinstance(place, dict):
                return
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
        if isinstance(place, dict):
            depth = len(override.path)
            for stale in [path for path in self.origins if path[:depth] == override.path]:
                del self.origins[stale]
            for stale in [path for path in self.references if path[:depth] == override.path]:
                del self.references[stale]
            place[last] = override.value
            self.origins[override.path] = override.origin

    def validate(self) -> Model | None:
        for path, leaf in _leaves(self.data, ()):
            if is_secret(self._model, path):
                self._expanded.register(str(leaf))
        try:
            return self._model.model_validate(self.data)
        except ValidationError as error:
            # A section that is wrong as a whole may be reported once per member of a union: one line is enough.
            told: dict[tuple[str, str], list[str]] = {}
            for detail in error.errors(include_url=False, include_context=False):
                path = self._path(detail["loc"], detail["type"] in ("missing", "extra_forbidden"))
                if path not in self._told:
                    place = _nearest(self.origins, path), dotted(path)
                    told.setdefault(place, []).append(self._explain(detail, path))
            for (where, key), messages in told.items():
                self.problems.append(Problem(where, key, " or ".join(dict.fromkeys(messages))))
            return None

    def _explain(self, detail: Any, path: Path) -> str:
        kind, message = detail["type"], detail["msg"]
        if kind == "extra_forbidden":
            return "unknown key" + suggestion(str(path[-1]), names_at(self._model, path[:-1]))
        if kind == "missing":
            return "is required"
        if kind in ("value_error", "assertion_error"):
            return str(message).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if kind in ("model_type", "dict_type"):
            message = "should be a mapping"
        if kind in ("tuple_type", "list_type"):
            message = "should be a list"
        return _SUBJECT.sub("should", message) + self._got(path, detail["input"])

    def _path(self, location: tuple[str | int, ...], names_absent_key: bool) -> Path:  # noqa: FBT001 - private
        """Drop what pydantic puts into a location beside keys: tags of unions, names of validators."""
        path: list[str | int] = []
        place: Any = self.data
        for index, part in enumerate(location):
            inside = part in place if isinstance(place, dict) else isinstance(place, list) and isinstance(part, int)
            if inside and (isinstance(place, dict) or int(part) < len(place)):
                place = place[part]
                path.append(part)
            elif names_absent_key and index == len(location) - 1:
                path.append(part)
        return tuple(path)

    def _got(self, path: Path, value: object) -> str:
        if isinstance(value, dict | list | tuple):
            return f", got a {'mapping' if isinstance(value, dict) else 'list'}"
        if value is None:
            return ", got nothing"
        if is_secret(self._model, path) or isinstance(value, SecretStr):
            return ""
        return f", got {clipped(repr(self.references.get(path, value)), 60)}"

    def redacted_problems(self) -> list[Problem]:
        return [
            Problem(problem.where, problem.key, redact(self._expanded.redact(problem.message)))
            for problem in sorted(self.problems, key=_reading_order)
        ]


def _reading_order(problem: Problem) -> tuple[str, int]:
    name, _, line = problem.where.rpartition(":")
    return (name, int(line)) if line.isdigit() else (problem.where, 0)


def _nearest(origins: Mapping[Path, str], path: Path) -> str:
    return next((origins[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in origins), "")


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(value.__dict__[name])  # getattr warns about deprecated fields
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _secrets(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner)
