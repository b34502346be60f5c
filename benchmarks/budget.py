"""Whether the budget of false alerts is kept, and what it costs in detection: prints one JSON document.

A simulated fleet in which nothing is wrong lives a week of one-minute ticks through the daemon's bank and incident
machine: 135 series of nine sorts of noise (white, autocorrelated to wandering, heavy-tailed, skewed, counts, strong by
day and weak at night), without minimums, which would keep most of it silent. Asked against spent, per budget and seed.

Then the same for detectors of days: 36 series with four sorts of rhythms, of which level and noise differ from day to
day, in five weeks of five-minute ticks; what takes days has a fifth of the budget.

Usage: ``python benchmarks/budget.py [seed …]``
"""

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from aiops.detect.shares import SLOW_SHARE
from tests.detect.quiet_fleet import RHYTHM_STEP_SECONDS, STEP_SECONDS, live, live_by_the_clock

SERIES_OF_EACH = 15
TICKS = 7 * 24 * 60
TWO_DAYS = 2 * 86_400 / STEP_SECONDS
BUDGETS = (10.0, 100.0)
RHYTHMS_OF_EACH, WEEKS, RHYTHM_BUDGET = 9, 5, 50.0


def main() -> None:
    seeds = [int(argument) for argument in sys.argv[1:]] or [11, 12, 13]
    rows = []
    for budget in BUDGETS:
        for seed in seeds:
            fired = live(SERIES_OF_EACH, TICKS, budget, seed).fired
            early = sum(tick < TWO_DAYS for tick, _ in fired)
            rows.append(
                {
                    "asked_per_week": budget,
                    "seed": seed,
                    "spent": len(fired),
                    "spent_to_asked": round(len(fired) / budget, 2),
                    "first_two_days": round(early / (budget * 2 / 7), 2),
                    "after": round((len(fired) - early) / (budget * 5 / 7), 2),
                    "by_noise": dict(Counter(noise for _, noise in fired)),
                }
            )
    print(json.dumps({"minutes": rows, "days": [by_the_clock(seed) for seed in seeds]}, indent=2))


def by_the_clock(seed: int) -> dict[str, object]:
    lived = live_by_the_clock(RHYTHMS_OF_EACH, 7 * WEEKS, RHYTHM_BUDGET, seed)
    of_week = Counter(int(tick * RHYTHM_STEP_SECONDS // (7 * 86_400)) for tick in lived.slow)
    return {
        "asked_per_week": SLOW_SHARE * RHYTHM_BUDGET,
        "seed": seed,
        "spent_by_week": [of_week[week] for week in range(WEEKS)],
        "spent_to_asked": round(len(lived.slow) / (SLOW_SHARE * RHYTHM_BUDGET * WEEKS), 2),
    }


if __name__ == "__main__":
    main()
