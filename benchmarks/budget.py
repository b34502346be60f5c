"""Whether the budget of false alerts is kept, and what it costs in detection: prints one JSON document.

A simulated fleet in which nothing is wrong lives a week of one-minute ticks through the daemon's bank and incident
machine: 135 series of nine sorts of noise (white, autocorrelated to wandering, heavy-tailed, skewed, counts, strong by
day and weak at night), without minimums, which would keep most of it silent. Asked against spent, per budget and seed.

Usage: ``python benchmarks/budget.py [seed …]``
"""

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.detect.quiet_fleet import STEP_SECONDS, live

SERIES_OF_EACH = 15
TICKS = 7 * 24 * 60
TWO_DAYS = 2 * 86_400 / STEP_SECONDS
BUDGETS = (10.0, 100.0)


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
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
