"""Numbers with units as people write them, out and in again: ``0.42 s``, ``420 ms``, ``93 %``, ``1410 MHz``.

What :func:`worded` writes, :func:`quantities` reads back to the same number within its rounding. Units are those of the
catalogue of signals; a number without a unit stands for itself.
"""

import re
from dataclasses import dataclass
from math import isfinite, isnan

UNKNOWN = {"en": "unknown", "zh": "未知"}
_STEPS: dict[str, tuple[tuple[float, float, str], ...]] = {
    # unit: (least absolute value, factor of what is written, suffix), the largest first
    "seconds": ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (1.0, 1.0, "s"), (0.0, 0.001, "ms")),
    "ratio": ((0.0, 0.01, "%"),),
    "bytes": ((2.0**30, 2.0**30, "GiB"), (2.0**20, 2.0**20, "MiB"), (2.0**10, 2.0**10, "KiB"), (0.0, 1.0, "B")),
    "bytes/s": ((2.0**30, 2.0**30, "GiB/s"), (2.0**20, 2.0**20, "MiB/s"), (0.0, 1.0, "B/s")),
    "hertz": ((1e6, 1e6, "MHz"), (0.0, 1.0, "Hz")),
    "celsius": ((0.0, 1.0, "°C"),),
    "watts": ((0.0, 1.0, "W"),),
    "state": ((0.0, 1.0, ""),),
}
_READ: dict[str, tuple[str, float]] = {
    "h": ("seconds", 3600.0), "hour": ("seconds", 3600.0), "hours": ("seconds", 3600.0), "小时": ("seconds", 3600.0),
    "min": ("seconds", 60.0), "minute": ("seconds", 60.0), "minutes": ("seconds", 60.0), "分钟": ("seconds", 60.0),
    "s": ("seconds", 1.0), "sec": ("seconds", 1.0), "second": ("seconds", 1.0), "seconds": ("seconds", 1.0),
    "秒": ("seconds", 1.0), "ms": ("seconds", 1e-3), "millisecond": ("seconds", 1e-3),
    "milliseconds": ("seconds", 1e-3), "毫秒": ("seconds", 1e-3), "µs": ("seconds", 1e-6), "us": ("seconds", 1e-6),
    "%": ("ratio", 0.01), "percent": ("ratio", 0.01),
    "b": ("bytes", 1.0), "bytes": ("bytes", 1.0), "kib": ("bytes", 2.0**10), "mib": ("bytes", 2.0**20),
    "gib": ("bytes", 2.0**30), "kb": ("bytes", 1e3), "mb": ("bytes", 1e6), "gb": ("bytes", 1e9),
    "tib": ("bytes", 2.0**40), "tb": ("bytes", 1e12),
    "b/s": ("bytes/s", 1.0), "mib/s": ("bytes/s", 2.0**20), "gib/s": ("bytes/s", 2.0**30),
    "mb/s": ("bytes/s", 1e6), "gb/s": ("bytes/s", 1e9),
    "hz": ("hertz", 1.0), "khz": ("hertz", 1e3), "mhz": ("hertz", 1e6), "ghz": ("hertz", 1e9),
    "°c": ("celsius", 1.0), "℃": ("celsius", 1.0), "c": ("celsius", 1.0), "degrees": ("celsius", 1.0),
    "celsius": ("celsius", 1.0), "度": ("celsius", 1.0), "摄氏度": ("celsius", 1.0),
    "w": ("watts", 1.0), "kw": ("watts", 1e3), "watts": ("watts", 1.0), "watt": ("watts", 1.0), "瓦": ("watts", 1.0),
    "tokens/s": ("tokens/s", 1.0), "requests/s": ("requests/s", 1.0), "events/s": ("events/s", 1.0),
    "usd/s": ("usd/s", 1.0), "requests": ("requests", 1.0), "request": ("requests", 1.0), "tokens": ("tokens", 1.0),
    "events": ("events", 1.0), "replicas": ("replicas", 1.0), "rows": ("rows", 1.0), "pages": ("pages", 1.0),
    "processes": ("processes", 1.0), "tasks": ("tasks", 1.0),
    "times": ("times", 1.0), "x": ("times", 1.0), "×": ("times", 1.0), "倍": ("times", 1.0), "-fold": ("times", 1.0),
}  # fmt: skip
_SUFFIX = "|".join(re.escape(suffix) for suffix in sorted(_READ, key=lambda text: (-len(text), text)))
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>[-+−])?(?P<digits>\d+(?:,\d{{3}})*(?:\.\d+)?(?:e[-+]?\d+)?)"
    rf"(?:\s{{0,2}}(?P<unit>{_SUFFIX})(?![A-Za-z/°]))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number in a text.

    Attributes
    ----------
    value
        In the base unit ``unit``; "" when the text names none that we know.
    slack
        Half a unit of the last digit that was written, in the same unit.
    start, end
        Where it stands in the text.
    """

    value: float
    unit: str
    slack: float
    start: int
    end: int


def worded(value: float, unit: str, language: str = "en") -> str:
    """Write a value of the catalogue with at most four digits."""
    if isnan(value):
        return UNKNOWN[language]
    for least, factor, suffix in _STEPS.get(unit, ((0.0, 1.0, unit),)):
        if abs(value) >= least or value == 0.0:
            scaled = value / factor
            digits = f"{scaled:.0f}" if abs(scaled) >= 1000 else f"{scaled:.3g}"
            text = f"{float(digits):.10f}".rstrip("0").rstrip(".") if "e" in digits else digits
            shown = "s" if value == 0.0 and unit == "seconds" else suffix
            return f"{text} {shown}".rstrip()
    return f"{value:.3g} {unit}"


def quantities(text: str) -> tuple[Quantity, ...]:
    """Every number of a text, in order; one too large for a float is infinite."""
    found = []
    for match in _NUMBER.finditer(text):
        digits = match["digits"].replace(",", "")
        unit, factor = _READ.get((match["unit"] or "").lower(), ("", 1.0))
        sign = -1.0 if match["sign"] in ("-", "−") else 1.0
        mantissa, _, exponent = digits.lower().partition("e")
        value = sign * float(digits) * factor
        last = 10.0 ** (float(exponent or 0) - len(mantissa.partition(".")[2])) if isfinite(value) else 0.0
        found.append(Quantity(value, unit, 0.5 * last * factor, match.start(), match.end()))
    return tuple(found)
