"""``aiops estimate``: what a fleet will cost, before anything is installed."""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from aiops.app.estimate import Fleet, Part, parts, total
from aiops.app.output import Column, Exit, say, show
from aiops.store.settings import StoreSettings

_COLUMNS = [Column("PART"), Column("MEMORY"), Column("FOR SECONDS"), Column("CORES"), Column("DISK")]
UNCERTAIN = (
    "series per replica and GPU differ by engine, version and driver: 'aiops metrics doctor URL' counts yours",
    "CPU was measured on one machine; yours may be half or twice as fast",
    "requests of browsers, language models and receivers are not in it",
    "models: only with the extra analytics, at low priority, and left out while the machine is busy",
)


def estimate(args: Namespace) -> int:
    """``aiops estimate``."""
    store = StoreSettings()
    fleet = Fleet(
        replicas=args.replicas,
        gpus=args.gpus,
        series_per_replica=args.series_per_replica,
        series_per_gpu=args.series_per_gpu,
        samples_per_page=args.samples_per_page,
        interval_seconds=args.interval,
        window_seconds=args.window,
        archive_bytes=store.max_archive,
    )
    every = parts(fleet)
    rows = [_row(part) for part in (*every, total(every))]
    show(to_dict(fleet, every), _COLUMNS, rows, output=args.output, headers=args.headers)
    say(f"{fleet.series} series, {fleet.rows} rows")
    if fleet.series > store.max_series:
        say(f"store.max_series must be raised: it is {store.max_series} by default, and the rest would be left out")
    for doubt in UNCERTAIN:
        say(f"uncertain: {doubt}")
    return Exit.OK


def to_dict(fleet: Fleet, every: tuple[Part, ...]) -> dict[str, Any]:
    """The document: sizes in bytes, CPU in cores."""
    return {
        "fleet": asdict(fleet),
        "series": fleet.series,
        "rows": fleet.rows,
        "parts": [_record(part) for part in every],
        "total": _record(total(every)),
        "uncertain": list(UNCERTAIN),
    }


def _record(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "memory_bytes": round(part.memory_bytes),
        "brief_bytes": round(part.brief_bytes),
        "cores": round(part.cores, 4),
        "disk_bytes": round(part.disk_bytes),
    }


def _row(part: Part) -> list[str]:
    sizes = (part.memory_bytes, part.brief_bytes, part.disk_bytes)
    memory, brief, disk = (f"{size / 2**20:.1f} MiB" if size else "" for size in sizes)
    return [part.name, memory, brief, f"{part.cores:.4f}" if part.cores else "", disk]
