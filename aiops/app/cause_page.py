"""``docs/reference/causes.md``: every known fault, and how well simulated ones are told apart."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiops.app import presets
from aiops.diagnose.signature import Signature
from aiops.render.reference import GENERATED, markdown_table

MEASURED = Path(__file__).resolve().parents[2] / "docs" / "reference" / "causes.json"
"""Written by ``benchmarks/causes.py --seeds 5 --healthy 40 --write``; only a checkout has it."""
_INTRODUCTION = """\
When an incident opens, the daemon compares what it sees with the half hour before, leaving a gap of a minute, and holds
the faults below against it. The signatures are data (`models/causes`); the sentences are explained in
`aiops/diagnose/condition.py`. A fault is named when all that it *needs* holds and nothing *against* it does; what
*speaks for it* orders those that fit. A fault that explains another goes before it. What is not measured is unknown: it
neither fits nor is it ruled out. Where nothing fits, no cause is named, and the answer says what moved most; when the
numbers themselves are in doubt (most sources silent or standing still at once), the answer is *telemetry fault* and
nothing is blamed.

`aiops incident show ID` tells the cause with its evidence, `aiops incident export ID DIR` writes the numbers behind it,
and `aiops rca replay DIR` judges them again, offline. A case is a folder: `metrics.csv` (first column epoch seconds,
then `entity|metric` each; empty = unknown), `case.json` (`id`, `alert` with `time`, `entity` and `metric`,
`interval_seconds`, and perhaps `reference` and `window` with `start` and `end`, else derived from the alert), perhaps
`topology.csv` (`caller,callee`), and for `--score` `truth.json` (`entities`, empty where nothing was wrong). Cases of
other systems have no signatures; they are ranked by how far what series left their reference, along the calls.

"""


def page() -> str:
    """The whole page."""
    book = presets.cause_book()
    sections = "".join(_section(one) for one in book.causes)
    actions = markdown_table(("action", "what"), [(f"`{name}`", text) for name, text in book.actions.items()])
    measured = _measured(json.loads(MEASURED.read_text(encoding="utf-8")))
    return (
        f"{GENERATED}# Causes\n\n{_INTRODUCTION}{measured}## Actions\n\n"
        f"The closed list from which summaries propose.\n\n{actions}\n## Signatures\n{sections}"
    )


def _section(one: Signature) -> str:
    parts = [
        ("needs", [clause.text for clause in one.requires]),
        ("speaks for it", [clause.text for clause in one.supports]),
        ("against it", [clause.text for clause in one.denies]),
    ]
    lines = [f"* {name}: {'; '.join(f'`{text}`' for text in texts)}" for name, texts in parts if texts]
    lines += [
        f"* {name}: {', '.join(names)}"
        for name, names in (("explains", one.explains), ("looks like", one.look_alikes))
        if names
    ]
    lines.append(f"* what to do: {one.fix} (`{'`, `'.join(one.actions)}`, runbook `{one.runbook}`)")
    return f"\n### {one.id}\n\n{one.title}; at a {one.at}.\n\n" + "\n".join(lines) + "\n"


def _measured(found: Mapping[str, Any]) -> str:
    low, high = found["seeds"]
    figures = [
        ("right cause first", f"{found['first']:.3f}", _interval(found["first_interval"])),
        ("among the first three", f"{found['top_three']:.3f}", _interval(found["top_three_interval"])),
        ("first by chance", f"{found['chance_first']:.3f}", ""),
        (f"no cause named in {found['healthy']} healthy fleets", f"{found['healthy_abstained']:.3f}", ""),
        ("no cause named under a telemetry fault", f"{found['telemetry_abstained']:.3f}", ""),
    ]
    rows = [
        (story, ", ".join(f"{name} {count}" if name != story else f"**{count}**" for name, count in names.items()))
        for story, names in found["named_first"].items()
    ]
    return (
        f"## Measured\n\n{found['faults']} faults, each struck {high - low + 1} times in a simulated fleet of four"
        f" replicas ({found['cases']} cases, seeds {low} to {high}; signatures were built with others), diagnosed two"
        " minutes later, through the whole pipeline (`benchmarks/causes.py`). Simulated faults are cleaner than real"
        " ones.\n\n"
        f"{markdown_table(('figure', 'share', '95 % interval'), figures)}\n"
        "Which cause was named first; bold where it was the right one, `none` where none was named.\n\n"
        f"{markdown_table(('fault', 'named first'), rows)}\n"
    )


def _interval(bounds: list[float]) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}"
