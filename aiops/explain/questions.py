"""Questions in English and Chinese, compiled to one of a few intents with signals, names and a window of time.

Nothing of a question is ever executed: it chooses among things that exist. What was understood can be shown, and the
same question at the same time compiles to the same query. Times are UTC.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from aiops.explain.words import Language, plain
from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import exported_name

LONGEST_QUESTION = 400
_NEAR_SECONDS = 900.0
_NOW_SECONDS = 900.0
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_SHORT_NAMES = {
    "ttft": "ttft", "itl": "itl", "tpot": "tpot", "e2e": "e2e", "latency": "e2e", "slow": "e2e", "queue": "queue_len",
    "hot": "gpu_temp", "temperature": "gpu_temp", "power": "gpu_power", "kv": "kv_use", "memory": "gpu_mem_used",
    "慢": "e2e", "热": "gpu_temp", "显存": "gpu_mem_used",
}  # fmt: skip
_STAT = re.compile(r"(?i)\b(p50|p95|p99|mean)\b")


class Intent(StrEnum):
    """What can be asked."""

    WHY = "why"
    HOW = "how"
    """What to do, and what is written about it."""
    VALUE = "value"
    HAPPENED = "happened"
    ALERTS = "alerts"
    REPLICAS = "replicas"


_INTENTS: tuple[tuple[Intent, re.Pattern[str]], ...] = (
    (Intent.WHY, re.compile(r"(?i)\bwhy\b|\bcause[ds]?\b|\breason\b|\bexplain|为什么|为何|原因|怎么回事|怎么会")),
    (Intent.HOW, re.compile(r"(?i)\bhow (?:do|can|should|to)\b|\bwhat (?:should|can|do) (?:i|we)\b|\brunbook|\bfix\b|"
                            r"\bdo about\b|怎么办|如何|怎样|怎么处理|手册|处理")),
    (Intent.REPLICAS, re.compile(r"(?i)\bhow many (?:replicas|instances|servers|gpus)\b|\breplicas? (?:do|should|need)|"
                                 r"\bscale\b|\bcapacity\b|多少副本|几个副本|需要.*副本|扩容|缩容|容量")),
    (Intent.ALERTS, re.compile(r"(?i)\balerts?\b|\bfiring\b|\bwrong now\b|告警|报警")),
    (Intent.HAPPENED, re.compile(r"(?i)\bincidents?\b|\bhappen|\bwhat (?:was|is) (?:wrong|going on)|\boutage|"
                                 r"事件|发生|出了什么|故障")),
    (Intent.VALUE, re.compile(r"(?i)\bwhat (?:is|was|are|were)\b|\bhow (?:high|low|long|much|many|is|was|are)\b|"
                              r"\bshow\b|"
                              r"多少|多高|多长|是什么|怎么样")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Query:
    """What a question was understood as.

    Attributes
    ----------
    signals
        Canonical names, in the order in which they were named; ``stat`` is empty when none was.
    names
        Values of labels that exist and that the question names.
    start, end
        UTC seconds of the window.
    text
        The question, one line: free text for what is written down.
    """

    intent: Intent
    language: Language
    signals: tuple[str, ...]
    stat: str
    names: tuple[str, ...]
    start: float
    end: float
    text: str

    @property
    def shown(self) -> str:
        """The query as one line, for people: what was looked for, and in which window."""
        parts = [str(self.intent)]
        if self.signals:
            parts.append("signals " + ", ".join(f"{name}:{self.stat}" if self.stat else name for name in self.signals))
        if self.names:
            parts.append("of " + ", ".join(self.names))
        return f"{'; '.join(parts)}; from {_iso(self.start)} to {_iso(self.end)}"

    @property
    def promql(self) -> tuple[str, ...]:
        """The same for every signal, to ask a Prometheus that scrapes this daemon."""
        matchers = f'stat="{self.stat}"' if self.stat else ""
        return tuple(f"{exported_name(SIGNALS[name])}{{{matchers}}}" for name in self.signals)


def compile_question(
    question: str, *, now: float, signals: Mapping[str, Mapping[Language, tuple[str, ...]]], names: Iterable[str]
) -> Query:
    """Understand a question.

    Parameters
    ----------
    now
        UTC seconds.
    signals
        What signals are called.
    names
        Values of labels that exist.
    """
    text = plain(question, LONGEST_QUESTION)
    language = Language.ZH if _CHINESE.search(text) else Language.EN
    start, end = window_of(text, now)
    stat = _STAT.search(text)
    query = Query(
        intent=Intent.HAPPENED,
        language=language,
        signals=_signals_in(text, signals),
        stat=stat[1].lower() if stat else "",
        names=_names_in(text, names),
        start=start,
        end=end,
        text=text,
    )
    intent = next((intent for intent, pattern in _INTENTS if pattern.search(text)), None)
    return replace(query, intent=intent or (Intent.VALUE if query.signals else Intent.HAPPENED))


def _signals_in(text: str, signals: Mapping[str, Mapping[Language, tuple[str, ...]]]) -> tuple[str, ...]:
    called = {name.lower(): signal for signal, names in signals.items() for both in names.values() for name in both}
    called |= {signal: signal for signal in signals}
    called |= {name: signal for name, signal in _SHORT_NAMES.items() if name not in called}
    found, rest = [], text.lower()
    for name in sorted(called, key=lambda one: (-len(one), one)):
        pattern = re.escape(name) if _CHINESE.search(name) else rf"(?<![a-z0-9_]){re.escape(name)}(?![a-z0-9_])"
        match = re.search(pattern, rest)
        if match:
            found.append((match.start(), called[name]))
            rest = rest[: match.start()] + " " * len(match.group()) + rest[match.end() :]
    return tuple(dict.fromkeys(signal for _, signal in sorted(found)))[:4]


def _names_in(text: str, names: Iterable[str]) -> tuple[str, ...]:
    rest = text.lower()
    found = []
    for name in sorted({name for name in names if len(name) > 1}, key=lambda one: (-len(one), one)):
        match = re.search(rf"(?<![a-z0-9_.:-]){re.escape(name.lower())}(?![a-z0-9_:-])", rest)
        if match:
            found.append(name)
            rest = rest[: match.start()] + " " * len(name) + rest[match.end() :]
    return tuple(found)


# Time ------------------------------------------------------------------------------------------------------------

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


def window_of(text: str, now: float) -> tuple[float, float]:
    """The window of time that a text names, UTC seconds; the last quarter of an hour when it names none."""
    reading: tuple[Callable[[str, float], tuple[float, float] | None], ...] = (_spans, _agos, _clocks, _days)
    found = next((window for read in reading if (window := read(text, now)) is not None), None)
    start, end = found or (now - _NOW_SECONDS, now)
    return min(start, now), min(max(end, start), now)


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


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
