"""Diagnosis of every simulated fault with several seeds: which cause is named first, and what it is mistaken for.

``--write`` keeps the result in ``docs/reference/causes.json``, from which ``aiops render`` makes the published matrix.
The seeds reported (from 101) are not those that signatures were built with (1 to 4).
"""

import argparse
import json
import math
from collections import Counter
from pathlib import Path

from aiops.app.drill import HEALTHY, Drill, drill, knowledge
from aiops.lab.incidents import STORIES, TELEMETRY_FAULT

TARGET = Path(__file__).resolve().parents[1] / "docs" / "reference" / "causes.json"
NONE = "none"


def wilson(hits: int, n: int) -> list[float]:
    """95 % interval of a share."""
    p, z = hits / n, 1.96
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [round((middle + sign * half) / (1 + z * z / n), 3) for sign in (-1, 1)]


def named(done: Drill) -> list[str]:
    return [cause.id for cause in done.diagnosis.causes] or [NONE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="rehearsals of each fault")
    parser.add_argument("--healthy", type=int, default=5, help="rehearsals without a fault")
    parser.add_argument("--first", type=int, default=101, help="first seed")
    parser.add_argument("--write", action="store_true", help=f"keep the result in {TARGET.name}")
    args = parser.parse_args()
    book, floors = knowledge()
    seeds = range(args.first, args.first + args.seeds)
    faults = {story: [named(drill(story, seed, book, floors)) for seed in seeds]
              for story in STORIES if story != TELEMETRY_FAULT}  # fmt: skip
    calm = [named(drill(HEALTHY, seed, book, floors)) for seed in range(args.first, args.first + args.healthy)]
    blind = [named(drill(TELEMETRY_FAULT, seed, book, floors)) for seed in seeds]
    every = [(story, names) for story, found in faults.items() for names in found]
    first = sum(names[0] == story for story, names in every)
    third = sum(story in names[:3] for story, names in every)
    abstained = sum(names == [NONE] for names in calm)
    result = {
        "seeds": [seeds.start, seeds.stop - 1],
        "faults": len(faults),
        "cases": len(every),
        "first": round(first / len(every), 3),
        "first_interval": wilson(first, len(every)),
        "top_three": round(third / len(every), 3),
        "top_three_interval": wilson(third, len(every)),
        "chance_first": round(1 / len(book.causes), 3),
        "healthy": len(calm),
        "healthy_abstained": round(abstained / len(calm), 3),
        "telemetry_abstained": round(sum(names == [NONE] for names in blind) / len(blind), 3),
        "named_first": {story: dict(Counter(names[0] for names in found).most_common()) for story, found in
                        {**faults, HEALTHY: calm, TELEMETRY_FAULT: blind}.items()},
    }  # fmt: skip
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.write:
        TARGET.write_text(text)


if __name__ == "__main__":
    main()
