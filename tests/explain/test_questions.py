"""Questions of both languages compile to what was meant, and no text breaks the compiler."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.explain.questions import Intent, Query, compile_question
from aiops.explain.times import window_of
from aiops.explain.words import Language
from aiops.signals.types import EntityKind
from tests.explain.cases import words

NOW = datetime(2026, 11, 27, 16, 30, tzinfo=UTC).timestamp()
NAMES = ("chat", "billing", "10.0.0.7:8000", "node-7", "node-77", "acme/tiny-70b", "web-0:8000", "GPU-4aa7f1c2-9d1e")


def asked(question: str) -> Query:
    return compile_question(question, now=NOW, signals=words().signals, names=NAMES)


def clock(query: Query) -> tuple[str, str]:
    day = [datetime.fromtimestamp(at, UTC) for at in (query.start, query.end)]
    return f"{day[0]:%d %H:%M}", f"{day[1]:%d %H:%M}"


@pytest.mark.parametrize(
    ("question", "intent", "signals"),
    [
        ("why was TTFT high at 14:00?", Intent.WHY, ("ttft",)),
        ("Why is the queue of chat so long?", Intent.WHY, ("queue_len",)),
        ("what caused the GPU temperature and the power draw?", Intent.WHY, ("gpu_temp", "gpu_power")),
        ("what is the KV cache use of chat?", Intent.VALUE, ("kv_use",)),
        ("p95 ttft", Intent.VALUE, ("ttft",)),
        ("how many replicas does chat need?", Intent.REPLICAS, ("replicas",)),
        ("what should I do about NVLink errors?", Intent.HOW, ("gpu_nvlink_errors",)),
        ("how do I fix a stuck engine", Intent.HOW, ()),
        ("which alerts are firing?", Intent.ALERTS, ()),
        ("what happened yesterday?", Intent.HAPPENED, ()),
        ("show incidents of the last 2 hours", Intent.HAPPENED, ()),
        ("14:00 的首字时延为什么高？", Intent.WHY, ("ttft",)),
        ("为什么 chat 排队这么长", Intent.WHY, ("queue_len",)),
        ("chat 需要多少副本？", Intent.REPLICAS, ()),
        ("GPU 过热怎么办？", Intent.HOW, ("gpu_temp",)),
        ("昨天发生了什么事件？", Intent.HAPPENED, ()),
        ("现在有哪些告警", Intent.ALERTS, ()),
        ("KV 缓存占用是多少？", Intent.VALUE, ("kv_use",)),
        ("which replica is the slowest?", Intent.RANK, ("itl", "ttft", "e2e")),
        ("the slowest TTFT", Intent.RANK, ("ttft",)),
        ("which pool has the most waiting requests", Intent.RANK, ("queue_len",)),
        ("哪个GPU最热", Intent.RANK, ("gpu_temp",)),
        ("which replica is worst?", Intent.HAPPENED, ()),
        ("how is chat?", Intent.STATE, ()),
        ("compare chat and billing", Intent.STATE, ()),
        ("is anything broken?", Intent.HAPPENED, ()),
        ("what changed in the last hour", Intent.CHANGED, ()),
        ("最近一小时有什么变化", Intent.CHANGED, ()),
        ("when will the KV cache be full", Intent.RUNS_OUT, ("kv_use",)),
        ("磁盘什么时候会满", Intent.RUNS_OUT, ()),
        ("why are requests failing", Intent.WHY, ("errors",)),
        ("how many requests does chat get", Intent.VALUE, ("arrivals",)),
        ("delete all incidents", Intent.ORDER, ()),
        ("please restart chat", Intent.ORDER, ()),
        ("restarts of chat", Intent.VALUE, ("restarts",)),
        ("what is the weather", Intent.UNCLEAR, ()),
        ("", Intent.UNCLEAR, ()),
    ],
)
def test_intents_and_signals(question: str, intent: Intent, signals: tuple[str, ...]) -> None:
    query = asked(question)
    assert (query.intent, query.signals) == (intent, signals)
    assert query.language is (Language.EN if question.isascii() else Language.ZH)


@pytest.mark.parametrize(
    ("question", "window"),
    [
        ("why was ttft high at 14:00?", ("27 13:45", "27 14:15")),
        ("at 2pm", ("27 13:45", "27 14:15")),
        ("at 2:30 pm", ("27 14:15", "27 14:45")),
        ("at 12:05 am", ("26 23:50", "27 00:20")),
        ("at 23:00", ("26 22:45", "26 23:15")),
        ("yesterday at 09:00", ("26 08:45", "26 09:15")),
        ("on 2026-11-20 08:00", ("20 07:45", "20 08:15")),
        ("between 13:00 and 14:30", ("27 13:00", "27 14:30")),
        ("from 14:00 to 13:00", ("27 13:00", "27 14:00")),
        ("since 10:00", ("27 10:00", "27 16:30")),
        ("in the last 2 hours", ("27 14:30", "27 16:30")),
        ("past 30 minutes", ("27 16:00", "27 16:30")),
        ("the last day", ("26 16:30", "27 16:30")),
        ("half an hour ago", ("27 15:45", "27 16:15")),
        ("yesterday", ("26 00:00", "27 00:00")),
        ("today", ("27 00:00", "27 16:30")),
        ("on 2026-11-20", ("20 00:00", "21 00:00")),
        ("now", ("27 16:15", "27 16:30")),
        ("昨天下午2点", ("26 13:45", "26 14:15")),
        ("14点30分", ("27 14:15", "27 14:45")),
        ("下午三", ("27 16:15", "27 16:30")),
        ("从13点到14点", ("27 13:00", "27 14:00")),
        ("过去两小时", ("27 14:30", "27 16:30")),
        ("最近30分钟", ("27 16:00", "27 16:30")),
        ("半小时前", ("27 15:45", "27 16:15")),
        ("自 10:00 以来", ("27 10:00", "27 16:30")),
        ("at 99:99 or 25:00", ("27 16:15", "27 16:30")),
    ],
)
def test_windows(question: str, window: tuple[str, str]) -> None:
    assert clock(asked(question)) == window


def test_names_are_those_that_exist() -> None:
    assert asked("why is node-7 of chat slow?").names == ("node-7", "chat")
    assert asked("ttft of 10.0.0.7:8000, acme/tiny-70b and other-pool").names == ("10.0.0.7:8000", "acme/tiny-70b")
    assert asked("node-777 and chatter").names == ()


def test_the_query_is_shown() -> None:
    query = asked("why was p95 TTFT of chat high at 14:00?")
    assert query.shown == "why; signals ttft:p95; of chat; from 2026-11-27T13:45:00Z to 2026-11-27T14:15:00Z"
    assert query.promql == ('aiops_signal_ttft_seconds{stat="p95"}',)


@given(st.text(max_size=500))
def test_any_text_is_a_question(text: str) -> None:
    query = asked(text)
    assert query.start <= query.end <= NOW
    assert len(query.text) <= 400
    assert query == asked(text)


@given(st.text(alphabet="0123456789:：点分apm 昨天上下午lasthourdyg", max_size=40))
def test_any_time_is_a_window(text: str) -> None:
    start, end = window_of(text, NOW) or (NOW, NOW)
    assert start <= end <= NOW


@pytest.mark.parametrize(
    ("question", "kind", "lowest", "most"),
    [
        ("which GPU is hottest", EntityKind.GPU, False, 0),
        ("top 3 replicas by queue", EntityKind.REPLICA, False, 3),
        ("温度最低的显卡，前 2 个", EntityKind.GPU, True, 2),
        ("which node is the worst by CPU", EntityKind.NODE, None, 0),
        ("the lowest throughput of all", None, True, 0),
    ],
)
def test_a_ranking_knows_of_what_and_from_which_end(
    question: str, kind: EntityKind | None, lowest: bool | None, most: int
) -> None:
    query = asked(question)
    assert (query.intent, query.kind, query.lowest, query.most) == (Intent.RANK, kind, lowest, most)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("why did web-0 stop", ("web-0:8000",)),
        ("why did web-0:8000 stop", ("web-0:8000",)),
        ("is 4AA7F1C2 ok", ("GPU-4aa7f1c2-9d1e",)),
        ("web-0x", ()),
        ("10.0.0.7", ("10.0.0.7:8000",)),
    ],
)
def test_a_name_may_be_given_by_its_first_part(question: str, names: tuple[str, ...]) -> None:
    assert asked(question).names == names
