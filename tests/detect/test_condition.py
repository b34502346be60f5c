"""The condition language: what it means, and that it refuses everything else."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.detect.condition import Condition, Operand

NAN = float("nan")


class Table:
    """Signal → values, oldest first; one entity."""

    step_seconds = 5.0
    lead_seconds = np.array([120.0])

    def __init__(self, **values: float | list[float]) -> None:
        self.values = {name.replace("__", "."): np.atleast_1d(np.array(v, float)) for name, v in values.items()}

    def now(self, operand: Operand) -> NDArray[np.float64]:
        return self.values[str(operand)][-1:]

    def last(self, operand: Operand, points: int) -> NDArray[np.float32]:
        return self.values[str(operand)][-points:, None].astype(np.float32)

    def peers(self, operand: Operand) -> NDArray[np.float64]:
        return self.now(operand) + 1


def truth(text: str, **values: float | list[float]) -> bool | None:
    """True, False, or None for unknown."""
    answer = Condition.parse(text).evaluate(Table(**values))
    true, false = (bool(np.broadcast_to(mask, (1,))[0]) for mask in answer)
    assert not (true and false)
    return True if true else False if false else None


OF = {True: 1.0, False: 0.0, None: NAN}
AND = {(True, None): None, (False, None): False, (None, None): None}
OR = {(True, None): True, (False, None): None, (None, None): None}


@pytest.mark.parametrize(("a", "b"), list(product(OF, OF)))
def test_three_valued_logic(a: bool | None, b: bool | None) -> None:
    values = {"running": OF[a], "queue_len": OF[b]}
    known = a is not None and b is not None
    expected_and = (a and b) if known else AND.get((a, b), AND.get((b, a)))
    expected_or = (a or b) if known else OR.get((a, b), OR.get((b, a)))
    assert truth("running == 1 and queue_len == 1", **values) is expected_and
    assert truth("running == 1 or queue_len == 1", **values) is expected_or
    assert truth("not running == 1", running=OF[a]) is (None if a is None else not a)
    assert truth("surely(running == 1)", running=OF[a]) is bool(a)
    assert truth("known(running)", running=OF[a]) is (a is not None)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_comparisons_and_arithmetic_are_those_of_python(a: float, b: float) -> None:
    values = {"running": a, "queue_len": b}
    for operator, answer in {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}.items():
        assert truth(f"running {operator} queue_len", **values) is answer
    assert truth("running + 2 * queue_len - -1 > 0", **values) is (a + 2 * b - -1 > 0)
    assert truth("-1 < running <= queue_len", **values) is (-1 < a <= b)


def test_what_is_not_finite_is_unknown() -> None:
    assert truth("running / queue_len > 1", running=1, queue_len=0) is None
    assert truth("running / queue_len > 1", running=0, queue_len=0) is None
    assert truth("running * running > 1", running=1e300) is None


def test_statistics_of_distributions() -> None:
    assert truth("ttft.p95 > 2 * ttft.p50", ttft__p95=3, ttft__p50=1) is True


def test_looking_back() -> None:
    assert truth("highest(running, 3) == 4", running=[9, 1, 4, 2]) is True
    assert truth("lowest(running, 3) == 1", running=[0, 1, 4, 2]) is True
    assert truth("highest(running, 3) == 4", running=[9, NAN, 4, NAN]) is True
    assert truth("highest(running, 2) == 4", running=[4, NAN, NAN]) is None


def test_unchanged() -> None:
    assert truth("unchanged(running, 4)", running=[1, 2.5, 2.5, 2.5, 2.5]) is True
    assert truth("unchanged(running, 4)", running=[1, 2.5, 2.5, 2.5, 2.6]) is False
    assert truth("unchanged(running, 4)", running=[2.5, 2.5, NAN, 2.5, 2.5]) is True
    assert truth("unchanged(running, 4)", running=[2.5, NAN, NAN, 2.5, 2.5]) is None
    assert truth("unchanged(running, 4)", running=[2.5, 2.5, 2.5]) is None


def test_operands_keep_their_order() -> None:
    condition = Condition.parse("queue_len > 0 and running >= 0.95 * max_running and queue_len < 9")
    assert [str(operand) for operand in condition.operands] == ["queue_len", "running", "max_running"]


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "running", "running >", "1 < 2", "True", "running == True", "running is 1", "running in (1, 2)",
        "running if running > 1 else queue_len > 1", "lambda: 1", "[running > 0]", "(x := 1) > 0", "f'{running}' > 1",
        "running ** 9 > 0", "running // 2 > 0", "running % 2 > 0", "running @ 2 > 0", "~running > 0", "running > 'a'",
        "running > 1j", "__import__('os').system('true') > 0", "open('x') > 0", "running.real > 0", "ttft > 1",
        "ttft.p42 > 1", "ttft.p95.real > 1", "nothing_like_it > 0", "highest(running) > 1", "highest(running, 0) > 1",
        "highest(running, 1.5) > 1", "highest(running, True) > 1", "highest(running + 1, 3) > 1",
        "highest(running, n=3) > 1", "surely(running) ", "known(running > 1)", "unchanged(running)",
        "highest(running, 99999999) > 1", "running > 0; queue_len", "running > *queue_len", "running[0] > 1",
        "print(running > 0)", "not running", "running > 0 and 1", "running > 0\x00", "await running > 0",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="condition"):
        Condition.parse(text)


def test_monsters_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 500 characters"):
        Condition.parse("running > 0 and " * 100 + "running > 0")
    for deep in ("not " * 60 + "running > 0", "running > " + "-" * 400 + "1", "(" * 240 + "running > 0" + ")" * 240):
        with pytest.raises(ValueError, match="condition"):
            Condition.parse(deep)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        condition = Condition.parse(text)
    except ValueError:
        return
    assert condition.operands


def test_errors_quote_the_part_and_what_is_possible() -> None:
    with pytest.raises(ValueError, match=r"'ttft' is not understood: ttft has these statistics: mean, p50"):
        Condition.parse("running > 0 and ttft > 3")


def test_an_average_is_over_what_is_known() -> None:
    assert truth("average(running, 4) == 0.25", running=[1.0, 0.0, 0.0, 0.0]) is True
    assert truth("average(running, 4) == 0.5", running=[9.0, 1.0, NAN, 0.0, NAN]) is True
    assert truth("average(running, 4) > 0", running=[NAN] * 4) is None


def test_a_line_reaches_its_limit_only_when_it_surely_rises() -> None:
    """Nine points five seconds apart, of thirds: 0 … 8 rises by one each five seconds."""

    def left(limit: str, values: list[float]) -> float:
        reading = Condition.parse(f"seconds_until(running, {limit}, 9) >= 0")
        assert reading.operands[0] == Operand("running")
        times = [t for t in range(0, 200, 5) if truth(f"seconds_until(running, {limit}, 9) <= {t}", running=values)]
        return times[0] if times else float("inf")

    rise = [float(x) for x in range(9)]
    assert left("12", rise) == 20.0, "four more at one each five seconds"
    assert left("2 * 6", rise) == 20.0
    assert left("8", rise) == left("3", rise) == 0.0
    assert left("12", rise[::-1]) == left("12", [5.0] * 9) == float("inf")
    assert left("12", [0, 5, 0, 1, 6, 1, 4, 7, 4]) == float("inf"), "its thirds overlap"
    assert truth("seconds_until(running, 12, 9) < 100", running=rise[:8]) is None, "too short a past"
    assert truth("seconds_until(running, 12, 9) < 100", running=[*rise[:8], NAN]) is None
    assert truth("seconds_until(running, queue_len, 9) < 100", running=rise, queue_len=NAN) is None
    assert truth("seconds_until(running, 12, 9) < 100", running=[0, NAN, 2, 3, NAN, NAN, 6, 7, 8]) is True


def test_the_others_and_the_lead_time_come_from_the_frame() -> None:
    assert truth("peers(running) == running + 1", running=3) is True
    assert truth("running < lead_time", running=119) is True
    assert truth("running < lead_time", running=121) is False
