"""The live benchmark in small: faults in a real Prometheus, through our pipeline and through PromQL rules."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import live
from tests.real.prometheus import prometheus_with

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
EACH, HOURS = 2, 6.0


async def test_every_fault_is_told_within_three_minutes_and_nothing_else(
    tmp_path: Path, real_program: Callable[[str], str], free_port: Callable[[], int]
) -> None:
    known = live.services(EACH)
    programs = {name: real_program(name) for name in ("prometheus", "promtool")}
    async with prometheus_with(live.past(known, HOURS), tmp_path, port=free_port(), **programs) as url:
        report = await live.measure(url, known, HOURS)
    assert report["aiops, alert within 3 minutes"] == {**dict.fromkeys(live.FAULTS, EACH), "false alerts": 0}
    # The rules are real ones: they see what is large, and by construction not an outage.
    rules = report["mean bands, alert within 7 minutes"]
    assert isinstance(rules, dict)
    assert (rules["x 10"], rules["-70 %"], rules["to 0"]) == (EACH, EACH, 0)


def test_an_alert_of_a_rule_waits_for_five_minutes_without_a_break() -> None:
    steps = [30.0 * step for step in range(20)]
    assert live.firing(steps) == 300
    assert live.firing(steps[:5] + steps[6:]) == steps[6] + 300
    assert live.firing(steps[:10]) == float("inf")
