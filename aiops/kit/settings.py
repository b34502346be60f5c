"""Building blocks of configuration sections: strict, frozen, units parsed, secrets unprintable.

Every room declares its own section beside the code that uses it; ``app.config`` only joins them.
A field's ``description`` says what it means, its unit and why the default is what it is.
"""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr, WithJsonSchema

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")
_DURATION_FACTORS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?")
_SIZE_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class Section(BaseModel):
    """Base of every configuration section: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)


def parse_duration(value: object) -> object:
    """Turn ``"1h30m"``, ``"5s"``, ``"250ms"`` (Prometheus style) or a number of seconds into seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None or not any(match.groups()):
        try:
            return float(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is not a duration; expected seconds or a form such as 250ms, 5s, 1h30m"
            ) from None
    return sum(float(part) * factor for part, factor in zip(match.groups(), _DURATION_FACTORS, strict=True) if part)


def parse_size(value: object) -> object:
    """Turn ``"16MiB"``, ``"1GB"`` or a number of bytes into bytes (``K`` = 1000, ``Ki`` = 1024)."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a size; expected bytes or a form such as 512KiB, 16MiB, 1GB")
    number, unit = match.groups()
    unit = unit or ""
    base = 1024 if unit.endswith("i") else 1000
    return int(float(number) * base ** _SIZE_POWERS[unit.removesuffix("i")])


def format_duration(seconds: float) -> str:
    """Write seconds as :func:`parse_duration` reads them: 5400.0 is ``1h30m``, 0.25 is ``250ms``."""
    rest = round(seconds * 1000)
    if abs(seconds * 1000 - rest) > 1e-6:
        return str(seconds)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_size(size_bytes: int) -> str:
    """Write bytes as :func:`parse_size` reads them, in the largest unit that loses nothing."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes and size_bytes % size == 0:
            return f"{size_bytes // size}{unit}"
    return str(size_bytes)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0, allow_inf_nan=False),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "unit": "seconds"}),
]
"""Seconds; written ``5s``, ``1m30s``, ``2h`` or as a number."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(ge=0),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}], "unit": "bytes"}),
]
"""Bytes; written ``16MiB``, ``1GB`` or as a number."""

Secret = Annotated[SecretStr, PlainSerializer(lambda secret: "<secret>" if secret else "", return_type=str)]
"""A value that prints, dumps and logs as ``<secret>``."""
