"""What a fleet will cost before it is installed: memory, CPU and disk as straight lines through what was measured.

The constants are from one run of ``python benchmarks/scale.py`` on CPython 3.11, x86-64 Linux, two cores of a cloud
machine, without fitted models: turns and memory of 1 000 to 1 000 000 series in pools of 250 replicas with a window of
120 rows, and 200 pages like vLLM's. ``tests/app/test_estimate.py`` measures memory anew and holds the constants against
it; time is not tested, because it is that of a machine.
"""

from dataclasses import dataclass

from aiops.store.bands import SLOTS

PROGRAM_BYTES = 84 * 2**20
"""Resident after the imports and a first turn."""
LEARNT_BYTES = 2000
"""Per series: what detectors learn (1300), and names, columns and places."""
WINDOW_POINT_BYTES, WINDOW_SERIES_BYTES = 4.35, 50
BAND_BYTES = 12 * SLOTS
SAMPLE_BYTES = 550
"""Per sample of a page: the remembered layout of the parser and of the normaliser."""
SNAPSHOT_SERIES_BYTES = 1360
"""In the file, beside four bytes for each point."""
SNAPSHOT_COPIES = 2.6
"""Memory needed while a snapshot is written, as a multiple of the file."""
TURN_SECONDS, SERIES_SECONDS = 2.0e-3, 1.2e-6
"""CPU of a turn: its fixed part, and what each series adds."""
SAMPLE_SECONDS = 1.0e-6
"""CPU for reading and normalising one sample of such a page; of shorter pages each costs up to three times as much."""
FIT_SECONDS, FITS_PER_SECOND, REFIT_SECONDS, FIT_WORKER_BYTES = 0.05, 1000 / 300, 3600.0, 250 * 2**20
"""Models: CPU for each, most of them, the age when they are fitted again, and the memory of the worker; as the settings
``detect.fit`` say."""

SERIES_PER_REPLICA, SAMPLES_PER_PAGE, SERIES_PER_GPU = 74, 455, 35
"""A vLLM page with one engine, and a GPU of which the driver tells everything."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is to be watched, and how."""

    replicas: int
    gpus: int
    series_per_replica: int
    series_per_gpu: int
    samples_per_page: int
    interval_seconds: float
    window_seconds: float
    archive_bytes: int

    @property
    def series(self) -> int:
        """Series in the window."""
        return self.replicas * self.series_per_replica + self.gpus * self.series_per_gpu

    @property
    def rows(self) -> int:
        """Rows of the window."""
        return max(2, round(self.window_seconds / self.interval_seconds))


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of the daemon costs.

    Attributes
    ----------
    brief_bytes
        Memory that is needed for seconds and given back.
    cores
        Mean share of one core.
    """

    name: str
    memory_bytes: float = 0.0
    brief_bytes: float = 0.0
    cores: float = 0.0
    disk_bytes: float = 0.0


def parts(fleet: Fleet) -> tuple[Part, ...]:
    """Every part of the daemon; models only where the extra ``analytics`` is installed."""
    series, interval = fleet.series, fleet.interval_seconds
    samples = fleet.replicas * fleet.samples_per_page
    snapshot = series * (4.0 * fleet.rows + SNAPSHOT_SERIES_BYTES)
    fits = min(FITS_PER_SECOND, series / REFIT_SECONDS)
    return (
        Part("program", PROGRAM_BYTES, cores=TURN_SECONDS / interval),
        Part("window", series * (WINDOW_POINT_BYTES * fleet.rows + WINDOW_SERIES_BYTES)),
        Part("detectors", series * LEARNT_BYTES, cores=series * SERIES_SECONDS / interval),
        Part("band history", float(series * BAND_BYTES)),
        Part("pages", float(samples * SAMPLE_BYTES), cores=samples * SAMPLE_SECONDS / interval),
        Part("snapshot", brief_bytes=snapshot * SNAPSHOT_COPIES, disk_bytes=2 * snapshot),
        Part("archive, at most", disk_bytes=float(fleet.archive_bytes)),
        Part("models", brief_bytes=float(FIT_WORKER_BYTES), cores=fits * FIT_SECONDS),
    )


def total(every: tuple[Part, ...]) -> Part:
    """All parts together, as if what is brief came at once."""
    return Part(
        "total",
        sum(part.memory_bytes for part in every),
        sum(part.brief_bytes for part in every),
        sum(part.cores for part in every),
        sum(part.disk_bytes for part in every),
    )
