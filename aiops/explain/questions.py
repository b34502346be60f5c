"""Questions in English and Chinese, compiled to one of a few intents with signals, names and a window of time.

Nothing of a question is ever executed: it chooses among things that exist. What was understood can be shown, and the
same question at the same time compiles to the same query. Times are UTC.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from aiops.explain.times import NOW_SECONDS, window_of
from aiops.explain.words import Language, plain
from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import exported_name
from aiops.signals.types import EntityKind

LONGEST_QUESTION = 400
_SHORT_NAMES = {
    "ttft": "ttft", "itl": "itl", "tpot": "tpot", "e2e": "e2e", "latency": "e2e", "slow": "e2e", "queue": "queue_len",
    "queued": "queue_len", "waiting": "queue_len", "running": "running", "hot": "gpu_temp", "temperature": "gpu_temp",
    "power": "gpu_power", "clock": "gpu_sm_clock", "utilization": "gpu_util", "utilisation": "gpu_util",
    "kv": "kv_use", "memory": "gpu_mem_used", "failing": "errors", "failures": "errors",
    "慢": "e2e", "热": "gpu_temp", "显存": "gpu_mem_used",
}  # fmt: skip
_VAGUE_NAMES = {
    "load": "running", "loaded": "running", "busy": "running", "tokens": "tokens_out", "requests": "arrivals",
    "请求": "arrivals", "负载": "running",
}  # fmt: skip
"""Words that mean a signal only where nothing else in the question does."""
_SPEED, _LOAD = ("itl", "ttft", "e2e"), ("running", "gpu_util")
_SUPERLATIVES: Mapping[str, tuple[tuple[str, ...], bool | None]] = {
    "hottest": (("gpu_temp",), False), "coolest": (("gpu_temp",), True), "coldest": (("gpu_temp",), True),
    "slowest": (_SPEED, False), "fastest": (_SPEED, True), "busiest": (_LOAD, False), "idle": (_LOAD, True),
    "highest": ((), False), "most": ((), False), "longest": ((), False), "largest": ((), False),
    "biggest": ((), False), "top": ((), False), "lowest": ((), True), "least": ((), True), "shortest": ((), True),
    "smallest": ((), True), "worst": ((), None),
    "最热": (("gpu_temp",), False), "最冷": (("gpu_temp",), True), "最慢": (_SPEED, False), "最快": (_SPEED, True),
    "最忙": (_LOAD, False), "最闲": (_LOAD, True),
    "空闲": (_LOAD, True), "最高": ((), False), "最多": ((), False), "最长": ((), False),
    "最大": ((), False), "最低": ((), True), "最少": ((), True), "最短": ((), True), "最小": ((), True),
    "最差": ((), None),
}  # fmt: skip
"""Superlative → signals that it is about where the question names none, and whether the lowest comes first; None: what
hurts."""
_SUPERLATIVE = re.compile(rf"(?i)\b({'|'.join(word for word in _SUPERLATIVES if word.isascii())})\b|(空闲|最[^近后初])")
_KINDS = re.compile(
    r"(?i)(?P<gpu>(?<![a-z])gpus?(?![a-z])|显卡)|(?P<replica>\b(?:replica|instance|engine|server|pod)s?\b|副本|实例|引擎)"
    r"|(?P<node>\b(?:node|host|machine)s?\b|节点|主机|机器)|(?P<pool>\b(?:pool|model|service)s?\b|池|模型|服务)"
)
_MOST = re.compile(r"(?i)\btop (\d{1,2})\b|前\s*(\d{1,2})")
_GPU = re.compile(r"^(?:GPU|MIG)-([0-9a-fA-F]{8})")
_STAT = re.compile(r"(?i)\b(p50|p95|p99|mean)\b")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


class Intent(StrEnum):
    """What can be asked."""

    WHY = "why"
    HOW = "how"
    """What to do, and what is written about it."""
    VALUE = "value"
    RANK = "rank"
    """Which are the first by one signal."""
    STATE = "state"
    """How named things are, side by side."""
    HAPPENED = "happened"
    CHANGED = "changed"
    ALERTS = "alerts"
    REPLICAS = "replicas"
    RUNS_OUT = "runs_out"
    """When something is used up."""
    ORDER = "order"
    """Something is to be done: nothing is."""
    UNCLEAR = "unclear"


_INTENTS: tuple[tuple[Intent, re.Pattern[str]], ...] = (
    (Intent.ORDER, re.compile(r"(?i)^\W*(?:please |(?:can|could) you )?(?:delete|remove|restart|reboot|kill|drain|"
                              r"cordon|stop|silence|mute|acknowledge|deploy|roll ?back|upgrade)\b|"
                              r"^\W*(?:请|帮我)?(?:删除|重启|停止|静默|静音|回滚|部署)")),
    (Intent.WHY, re.compile(r"(?i)\bwhy\b|\bcause[ds]?\b|\breason\b|\bexplain|为什么|为何|原因|怎么回事|怎么会")),
    (Intent.HOW, re.compile(r"(?i)\bhow (?:do|can|should|to)\b|\bwhat (?:should|can|do) (?:i|we)\b|\brunbook|\bfix\b|"
                            r"\bdo about\b|怎么办|如何|怎样|怎么处理|手册|处理")),
    (Intent.REPLICAS, re.compile(r"(?i)\bhow many (?:replicas|instances|servers|gpus)\b|\breplicas? (?:do|should|need)|"
                                 r"\bscale\b|\bcapacity\b|多少副本|几个副本|需要.*副本|扩容|缩容|容量")),
    (Intent.RUNS_OUT, re.compile(r"(?i)\bwhen (?:will|does|do|is)\b|\bhow (?:long|soon) (?:until|before|till)\b|"
                                 r"\bruns? out\b|\bused up\b|\bexhaust|什么时候.*(?:满|完|尽)|何时.*(?:满|完|尽)|"
                                 r"多久.*(?:满|完|尽)|耗尽")),
    (Intent.CHANGED, re.compile(r"(?i)\bchanged?\b|\bchanges\b|\bdeploy|\brollouts?\b|\brestarted\b|"
                                r"\bdid\b.*\brestart\b|\bupgraded\b|"
                                r"变更|变化|变了|改变|部署|升级")),
    (Intent.ALERTS, re.compile(r"(?i)\balerts?\b|\bfiring\b|\bwrong now\b|告警|报警")),
    (Intent.RANK, _SUPERLATIVE),
    (Intent.HAPPENED, re.compile(r"(?i)\bincidents?\b|\bhappen|\bwhat (?:was|is) (?:wrong|going on)|\boutage|"
                                 r"事件|发生|出了什么|故障")),
    (Intent.STATE, re.compile(r"(?i)\bcompar|\bversus\b|\bvs\b|\bdifferen|\bok(?:ay)?\b|\bhealth|\bstatus\b|\bstate\b|"
                              r"\bbroken\b|\bwrong\b|\bproblem|\bissues?\b|\btrouble|\bdown\b|\bstuck\b|\bfail|"
                              r"对比|比较|相比|正常|健康|状态|问题")),
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
        Canonical names, in the order in which they were named; ``stat`` is empty when none was. For a ranking the first
        that is measured counts.
    names
        Values of labels that exist and that the question names.
    kind
        What sort of thing is asked about; None when the question does not say.
    lowest
        Whether the lowest values are asked for; None: those that hurt.
    start, end
        UTC seconds of the window.
    timed
        Whether the question names a time.
    most
        How many things are asked for at most; 0 when the question does not say.
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
    kind: EntityKind | None = None
    lowest: bool | None = None
    timed: bool = False
    most: int = 0

    @property
    def shown(self) -> str:
        """The query as one line, for people: what was looked for, and in which window."""
        parts = [str(self.intent)]
        if self.signals:
            parts.append("signals " + ", ".join(f"{name}:{self.stat}" if self.stat else name for name in self.signals))
        if self.names:
            parts.append("of " + ", ".join(self.names))
        if self.intent is Intent.RANK:
            parts.append({True: "the lowest", False: "the highest", None: "the worst"}[self.lowest] + " first")
        return f"{'; '.join(parts)}; from {_iso(self.start)} to {_iso(self.end)}"

    @property
    def promql(self) -> tuple[str, ...]:
        """The same for every signal, to ask a Prometheus that scrapes this daemon."""
        return tuple(look_up(name, self.stat) for name in self.signals)


def look_up(signal: str, stat: str) -> str:
    """How a Prometheus that scrapes this daemon is asked for a signal."""
    matchers = f'stat="{stat}"' if stat else ""
    return f"{exported_name(SIGNALS[signal])}{{{matchers}}}"


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
    window = window_of(text, now)
    start, end = window or (now - NOW_SECONDS, now)
    stat, kind, most = _STAT.search(text), _KINDS.search(text), _SUPERLATIVE.search(text)
    about, lowest = _SUPERLATIVES.get(most.group().lower(), ((), None)) if most else ((), None)
    known = _signals_in(text.replace(most.group(), " ") if most else text, signals) or about
    named = _names_in(text, names)
    return Query(
        intent=_intent(text, known, named),
        language=Language.ZH if _CHINESE.search(text) else Language.EN,
        signals=known,
        stat=stat[1].lower() if stat else "",
        names=named,
        start=start,
        end=end,
        text=text,
        kind=EntityKind(kind.lastgroup) if kind and kind.lastgroup else None,
        lowest=lowest,
        timed=window is not None,
        most=int(most_asked[1] or most_asked[2]) if (most_asked := _MOST.search(text)) else 0,
    )


def _intent(text: str, signals: tuple[str, ...], names: tuple[str, ...]) -> Intent:
    found = next((intent for intent, pattern in _INTENTS if pattern.search(text)), None)
    if found is Intent.ORDER and signals:  # "restarts of chat-0"
        return Intent.VALUE
    if found is Intent.RANK and not signals:
        return Intent.HAPPENED
    if found in (Intent.STATE, Intent.VALUE, None):
        by_names = Intent.STATE if names else (Intent.HAPPENED if found is Intent.STATE else Intent.UNCLEAR)
        return Intent.VALUE if signals and found is not Intent.STATE else by_names
    return found


def _signals_in(text: str, signals: Mapping[str, Mapping[Language, tuple[str, ...]]]) -> tuple[str, ...]:
    called = {name.lower(): signal for signal, names in signals.items() for both in names.values() for name in both}
    called |= {signal: signal for signal in signals}
    called |= {name: signal for name, signal in _SHORT_NAMES.items() if name not in called}
    return _called_in(text, called) or _called_in(text, _VAGUE_NAMES)


def _called_in(text: str, called: Mapping[str, str]) -> tuple[str, ...]:
    def pattern(name: str) -> str:
        return re.escape(name) if _CHINESE.search(name) else rf"(?<![a-z0-9_]){re.escape(name)}(?![a-z0-9_])"

    return tuple(dict.fromkeys(called[name] for _, name in sorted(_spotted(text, called, pattern))))[:4]


def _spotted(text: str, names: Iterable[str], pattern: Callable[[str], str]) -> Iterator[tuple[int, str]]:
    """Names in a text and where, the longest first; what one has taken is no part of another."""
    rest = text.lower()
    for name in sorted(names, key=lambda one: (-len(one), one)):
        if match := re.search(pattern(name), rest):
            yield match.start(), name
            rest = rest[: match.start()] + " " * len(name) + rest[match.end() :]


def _names_in(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Names that a text has, also by their first part: ``n1`` is ``n1:8000``, and a GPU is known by eight digits."""
    called: dict[str, list[str]] = {}
    for name in sorted(names):
        for alias in {name, name.rpartition(":")[0], *_GPU.findall(name)}:
            called.setdefault(alias.lower(), []).append(name)

    def pattern(alias: str) -> str:
        return rf"(?<![a-z0-9_.:-]){re.escape(alias)}(?![a-z0-9_:-])"

    found = _spotted(text, (alias for alias in called if len(alias) > 1), pattern)
    return tuple(dict.fromkeys(name for _, alias in found for name in called[alias]))


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
