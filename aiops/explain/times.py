"""Windows of time that a text names, in English and Chinese: spans, moments ago, clock times, days. Times are UTC."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

NOW_SECONDS = 900.0
"""What "now" means where no time is named."""
_NEAR_SECONDS = 900.0
_NUMBER = r"(\d{1,4}|an?|half an|一|半|两|几)"
_UNIT = r"(seconds?|minutes?|mins?|hours?|days?|weeks?|s|m|h|d|秒钟?|分钟?|个?小时|天|周)"
_UNIT_SECONDS = (("s", 1.0), ("秒", 1.0), ("m", 60.0), ("分", 60.0), ("h", 3600.0), ("个小时", 3600.0),
                 ("小时", 3600.0), ("d", 86_400.0), ("天", 86_400.0), ("w", 604_800.0), ("周", 604_800.0))  # fmt: skip
_CLOCK = (
    r"(?:(\d{4}-\d\d-\d\d)[T ]?|(yesterday|today|昨天|今天)\s*(?:at\s*)?)?"
    r"(凌晨|早上|上午|中午|下午|晚上)?\s*"
    r"(?:(\d{1,2})[:：](\d\d)(?:[:：](\d\d))?\s*([ap]m)?|(\d{1,2})\s*([ap]m)|(\d{1,2})\s*[点时](?:\s*(\d{1,2}|半)\s*分?)?)"
)
_ONE = re.compile(rf"(?i)(?<![\d.:]){_CLOCK}(?![\d:])")
_SPAN = re.compile(rf"(?i)(?:last|past|previous|最近|过去|近)\s*{_NUMBER}?\s*{_UNIT}(?![a-z])")
_AGO = re.compile(rf"(?i){_NUMBER}\s*{_UNIT}\s*(?:ago|以?前)")
_SINCE = re.compile(r"(?i)\b(?:since|after)\b|自从?|以来|之后|起")
_BETWEEN = re.compile(r"(?i)\bbetween\b|\bfrom\b|\bto\b|从|到|至|之间|–|—")
_DAY = re.compile(r"(?i)\b(yesterday|today)\b|昨天|今天|(?<!\d)(\d{4}-\d\d-\d\d)(?!\d)")


def window_of(text: str, now: float) -> tuple[float, float] | None:
    """The window of time that a text names, UTC seconds, not later than now; None when it names none."""
    reading: tuple[Callable[[str, float], tuple[float, float] | None], ...] = (_spans, _agos, _clocks, _days)
    found = next((window for read in reading if (window := read(text, now)) is not None), None)
    return None if found is None else (min(found[0], now), min(max(found[1], found[0]), now))


def _spans(text: str, now: float) -> tuple[float, float] | None:
    match = _SPAN.search(text)
    return None if match is None else (now - _seconds(match[1] or "1", match[2]), now)


def _agos(text: str, now: float) -> tuple[float, float] | None:
    match = _AGO.search(text)
    if match is None:
        return None
    at = now - _seconds(match[1], match[2])
    return at - _NEAR_SECONDS, at + _NEAR_SECONDS


def _seconds(number: str, unit: str) -> float:
    count = {"a": 1.0, "an": 1.0, "half an": 0.5, "一": 1.0, "半": 0.5, "两": 2.0, "几": 5.0}.get(number.lower())
    size = next(size for name, size in _UNIT_SECONDS if unit.lower().startswith(name))
    return (float(number) if count is None else count) * size


def _clocks(text: str, now: float) -> tuple[float, float] | None:
    times = [at for match in _ONE.finditer(text) if (at := _moment(match, now)) is not None]
    if not times:
        return None
    if len(times) > 1 and _BETWEEN.search(text):
        return min(times[:2]), max(times[:2])
    if _SINCE.search(text):
        return times[0], now
    return times[0] - _NEAR_SECONDS, times[0] + _NEAR_SECONDS


def _moment(match: re.Match[str], now: float) -> float | None:
    """UTC seconds; a time of day that is still to come today was yesterday's. None for what is no time."""
    date, day, part, hour, minute, second, half, hour_only, half_only, hour_zh, minute_zh = match.groups()
    number = int(hour or hour_only or hour_zh)
    late = (half or half_only or "").lower() == "pm" or part in ("下午", "晚上")
    number += 12 if late and number < 12 else 0
    number -= 12 if (half or half_only or "").lower() == "am" and number == 12 else 0
    minutes = 30 if minute_zh == "半" else int(minute or minute_zh or 0)
    today = datetime.fromtimestamp(now, UTC)
    try:
        base = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC) if date else today
        at = base.replace(hour=number, minute=minutes, second=int(second or 0), microsecond=0)
    except ValueError:
        return None
    if (day or "").lower() in ("yesterday", "昨天") or (not date and not day and at > today):
        at -= timedelta(days=1)
    return at.timestamp()


def _days(text: str, now: float) -> tuple[float, float] | None:
    match = _DAY.search(text)
    if match is None:
        return None
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if match[2]:
        try:
            midnight = datetime.strptime(match[2], "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            return None
    elif match.group().lower() in ("yesterday", "昨天"):
        midnight -= timedelta(days=1)
    return midnight.timestamp(), midnight.timestamp() + 86_400.0
