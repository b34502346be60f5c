"""Answers are made of what is known, cite it, and say so where nothing is."""

import string
from collections.abc import Mapping, Sequence

import pytest

from aiops.capacity.exhaustion import Exhaustion
from aiops.explain.answers import Answer, Measured, Moved, Story, answer
from aiops.explain.knowledge import Found
from aiops.explain.narrator import Narrator
from aiops.explain.phrases import ANSWERS
from aiops.explain.questions import Query, compile_question
from aiops.explain.words import Language
from aiops.incidents.alert import Alert
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey
from tests.explain.cases import case, words

ONE = case(7)
NOW = ONE.incident.started_at + 600.0


class House:
    """Everything, or nothing."""

    def __init__(self, *, empty: bool = False, many: int = 1) -> None:
        self.empty = empty
        self.many = many
        self.keys: Sequence[str] = ()

    def measured(self, query: Query) -> Sequence[Measured]:
        fact = ONE.diagnosis.evidence[0]
        assert fact.series is not None
        one = Measured(fact.series, fact.unit, fact.value, NOW - 60.0, fact.value, float("nan"), fact.value)
        return [] if self.empty else [one] * self.many

    def marks(self, query: Query) -> Sequence[Mark]:
        mark = Mark(MarkKind.DEPLOY, Entity.of(EntityKind.POOL, pool="chat"), NOW - 300.0, "v1 to v2")
        return [] if self.empty else [mark]

    def moved(self, query: Query) -> Sequence[Moved] | None:
        key = SeriesKey(Entity.of(EntityKind.POOL, pool="chat"), "queue_len")
        return None if self.empty else [Moved(key, "requests", 2.0, 40.0, NOW - 240.0, 30.0, 30.0)]

    def run_outs(self, query: Query) -> Sequence[tuple[SeriesKey, Exhaustion]]:
        key, other = (SeriesKey(Entity.of(EntityKind.POOL, pool=pool), "kv_use") for pool in ("chat", "billing"))
        known = Exhaustion(1800.0, 600.0, 7200.0, 0.0002)
        return [] if self.empty else [(key, known), (other, Exhaustion(reason="not surely growing"))]

    def incidents(self, query: Query) -> Sequence[Story]:
        summary = Narrator(words(), query.language).tell(ONE.incident, ONE.alerts, ONE.diagnosis)
        story = Story(ONE.incident, summary, tuple(cause.id for cause in ONE.diagnosis.causes))
        return [] if self.empty else [story] * self.many

    def alerts(self, query: Query) -> Sequence[Alert]:
        return [] if self.empty else list(ONE.alerts.values())

    def recommendations(self) -> Sequence[Mapping[str, object]]:
        advice = {"pool": "chat/llama-70b", "desired_replicas": 7, "current_replicas": 6, "reason": "97 % wait 1 s"}
        none = {"pool": "billing/m", "desired_replicas": None, "abstained": True, "reason": "too little was seen"}
        return [] if self.empty else [advice, none]

    def pages(self, text: str, keys: Sequence[str]) -> Sequence[Found]:
        self.keys = keys
        page = Found("runbooks/gpu-clock.md", "shipped runbook", "A GPU is slow", "Look at the clocks.", "key")
        return [] if self.empty else [page]


def asked(question: str, house: House | None = None) -> Answer:
    query = compile_question(question, now=NOW, signals=words().signals, names=("chat", "billing"))
    return answer(query, house or House(), words())


def places(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name)


def test_both_languages_answer_the_same() -> None:
    english, chinese = ANSWERS[Language.EN], ANSWERS[Language.ZH]
    assert {key: places(text) for key, text in english.items()} == {key: places(text) for key, text in chinese.items()}


@pytest.mark.parametrize("question", ["why was ttft high?", "首字时延为什么高？"])
def test_why_is_answered_with_cause_evidence_and_pages(question: str) -> None:
    house = House()
    given = asked(question, house)
    cause = ONE.diagnosis.causes[0]
    assert cause.title in given.text
    assert "[E1]" in given.text
    assert "gpu-clock.md" in given.text
    assert [source.id for source in given.sources] == ["S1", "S2", "S3"]
    assert given.sources[1].look_up == f"/api/v1/incidents/{ONE.incident.id}"
    assert list(house.keys) == [*(one.id for one in ONE.diagnosis.causes), "QueueSaturated"]
    assert given.query.shown.startswith("why; signals ttft; from ")


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (
            "how many replicas does chat need?",
            "Pool chat/llama-70b should have 7 replicas and has 6: 97 % wait 1 s [S1].",
        ),
        ("billing 需要多少副本？", "对池 billing/m 没有建议：too little was seen [S1]。"),
        ("which alerts fire?", "QueueSaturated (critical) fires since"),
        ("what happened today?", f"Incident {ONE.incident.id} (critical, open): “All slots are taken"),
        ("what is the ttft of chat?", "unknown in the hour before [S1]."),
        ("what should I do?", "Action: "),
        ("how is chat?", " now: "),
        ("what changed?", "of pool chat went from 2 requests to 40 requests, since "),
        ("what changed?", "pool chat changed: deploy, “v1 to v2” [S1]."),
        (
            "when is the KV cache full?",
            "pool chat: used up in 30 min, at the soonest in 10 min, at the latest in 2 h [S1].",
        ),
        ("when is the KV cache full?", "pool billing: no time can be said: not surely growing [S2]."),
        ("KV 缓存什么时候会满", "pool billing 的KV 缓存占用：无法给出用尽时间"),
        ("the highest ttft", "1. "),
    ],
)
def test_what_is_known_is_told(question: str, says: str) -> None:
    assert says in asked(question).text


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (
            "why was ttft high?",
            "No value of time to first token is known from that time.\nNo incident is known from that time.",
        ),
        ("how many replicas?", "No pool is known."),
        ("alerts?", "No alert fires."),
        ("what happened?", "No incident is known from that time."),
        ("how do I fix it?", "Nothing is written about it."),
        ("发生了什么？", "没有当时的事件。"),
        (
            "what changed?",
            "No deploy, restart or other event is known from that time.\nNo measurement is known from before",
        ),
        ("when is the disk full?", "Nothing that can be used up is known of it."),
        ("which GPU is hottest?", "No value of GPU temperature is known from that time."),
        ("stop everything", "Questions only read: nothing was done."),
        ("请删除全部事件", "提问只读取，没有执行任何操作。"),
        ("hello", "The question was not understood."),
    ],
)
def test_what_is_not_known_is_not_invented(question: str, says: str) -> None:
    given = asked(question, House(empty=True))
    assert says in given.text
    assert given.sources == []


def test_every_citation_has_its_source() -> None:
    for question in ("why?", "why was ttft high", "alerts", "how many replicas", "what happened"):
        given = asked(question, House(many=8))
        cited = {name for _, names in given.sentences for name in names if name.startswith("S")}
        assert cited <= {source.id for source in given.sources}
    assert "3 more are not shown." in asked("what happened", House(many=8)).text
