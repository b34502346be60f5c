import pytest

from aiops.diagnose.condition import Clause
from aiops.signals.types import Entity, Mark, MarkKind
from tests.diagnose.windows import GPU, NODE, NOW, OTHER, POOL, REPLICA, SIBLING, Numbers, look

NUMBERS: Numbers = {
    (GPU, "gpu_temp"): (60.0, 90.0),
    (GPU, "gpu_sm_clock"): (2e9, 1.2e9),
    (GPU, "gpu_power"): (300.0, 690.0),
    (GPU, "gpu_power_limit"): (700.0, 700.0),
    (GPU, "gpu_fan"): (0.5, float("nan")),
    (GPU, "gpu_xid"): (0.0, 0.0),
    (GPU, "gpu_xid_last"): (13.0, 13.0),
    (OTHER, "gpu_temp"): (60.0, 61.0),
    (REPLICA, "itl.mean"): (0.02, 0.05),
    (REPLICA, "queue_len"): (0.0, 0.0),
    (SIBLING, "queue_len"): (0.0, 20.0),
    (POOL, "arrivals"): (5.0, 5.0),
}


@pytest.mark.parametrize(
    ("text", "entity", "truth"),
    [
        ("gpu_temp rises", GPU, True),
        ("gpu_temp rises", OTHER, False),
        ("gpu_temp steady", OTHER, True),
        ("gpu_sm_clock falls", GPU, True),
        ("gpu_sm_clock falls", OTHER, None),
        ("gpu_fan lost", GPU, True),
        ("gpu_fan steady", GPU, None),
        ("gpu_temp lost", GPU, False),
        ("gpu_power > 0.9 gpu_power_limit", GPU, True),
        ("gpu_power < 0.9 gpu_power_limit", GPU, False),
        ("gpu_temp > 0.9 gpu_power_limit", OTHER, None),
        ("gpu_temp >= 90", GPU, True),
        ("replica: itl.mean rises", GPU, True),
        ("replica: itl.mean rises", NODE, True),
        ("gpu: gpu_temp rises", REPLICA, True),
        ("gpu: gpu_temp rises", SIBLING, None),
        ("pool: arrivals steady", GPU, True),
        ("replica: queue_len rises", POOL, True),
        ("peers: gpu_temp steady", GPU, True),
        ("peers: gpu_temp rises", GPU, False),
        ("peers: arrivals rises", POOL, None),
        ("gpu_temp falls or gpu_sm_clock falls", GPU, True),
        ("gpu_temp falls or gpu_fan rises", GPU, None),
        ("gpu_temp falls or gpu_temp lost", GPU, False),
        ("xid 13", GPU, False),
        ("xid 13", REPLICA, None),
        ("mark restarted deploy", REPLICA, False),
    ],
)
def test_three_valued(text: str, entity: Entity, truth: bool | None) -> None:
    found = Clause.parse(text).judge(look(NUMBERS), entity)
    assert found.truth is truth
    assert bool(found.facts) or truth is None or "mark" in text


def test_marks() -> None:
    marks = [Mark(MarkKind.XID, GPU, NOW, "Xid 79 (critical, bus): gone"), Mark(MarkKind.DEPLOY, REPLICA, NOW, "a → b")]
    told = look(NUMBERS, marks)
    assert Clause.parse("xid 48 79").judge(told, GPU).marks == (marks[0],)
    assert Clause.parse("xid 48").judge(told, GPU).truth is False  # 13 is old, 79 is another
    assert Clause.parse("replica: mark deploy").judge(told, GPU).truth is True
    assert Clause.parse("mark gpu_lost").judge(told, GPU).truth is False


def test_an_xid_without_a_mark_must_be_new() -> None:
    numbers = dict(NUMBERS) | {(GPU, "gpu_xid"): (0.0, 1.0), (GPU, "gpu_xid_last"): (13.0, 48.0)}
    assert Clause.parse("xid 48").judge(look(numbers), GPU).truth is True
    assert Clause.parse("xid 13").judge(look(numbers), GPU).truth is False


def test_order() -> None:
    numbers: Numbers = {(POOL, "errors"): (0.0, 5.0), (POOL, "arrivals"): (5.0, 5.0), (POOL, "queue_len"): (0, 30)}
    told = look(numbers)
    assert Clause.parse("errors before queue_len").judge(told, POOL).truth is False  # together
    assert Clause.parse("errors before arrivals").judge(told, POOL).truth is False  # arrivals never moved
    assert Clause.parse("errors before rejected").judge(told, POOL).truth is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("heat rises", "no signal of the catalogue is called 'heat'"),
        ("ttft rises", "ttft has these statistics: mean, p50"),
        ("gpu_temp.mean rises", "gpu_temp has these statistics: none"),
        ("gpu_temp explodes", "is not understood; expected SIGNAL rises"),
        ("mark flood", "'flood' is not a valid MarkKind; there are: restarted"),
        ("xid many", "is not understood"),
        ("uncle: gpu_temp rises", "is not understood"),
    ],
)
def test_what_is_not_understood_is_quoted(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Clause.parse(text)
