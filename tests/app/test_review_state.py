"""Budgets, replicas and GPUs in the weekly review: from a snapshot that a daemon wrote, and unknown without one."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest

from aiops.app.capacity import Capacity
from aiops.app.commands.report import review_of
from aiops.app.config import Config
from aiops.app.review_state import Kept, gpus_of, kept_of
from aiops.app.state import CAPACITY, SLO
from aiops.detect.base import AlertKey, Severity
from aiops.incidents.alert import AlertState, Transition
from aiops.incidents.slo_settings import SloSettings
from aiops.render.review import html, markdown
from aiops.signals.types import Columns, Entity, EntityKind, Mark, MarkKind, Reading, SeriesKey
from aiops.store import snapshot
from aiops.store.journal import Journal
from aiops.store.ring import Ring
from aiops.store.settings import StoreSettings
from aiops.store.snapshot import SavedState
from aiops.store.view import ArchiveView
from tests.app.test_capacity import SETTINGS, Fleet
from tests.incidents.test_slo import DAY, HOUR, TTFT, Story
from tests.store.records import transition

HOT = Entity.of(EntityKind.GPU, gpu="GPU-1", node="n1")
WELL = Entity.of(EntityKind.GPU, gpu="GPU-2", node="n1")
LOST = Entity.of(EntityKind.GPU, gpu="GPU-3", node="n2")


def fires(rule: str, signal: str, entity: Entity, at: float, severity: Severity = Severity.WARNING) -> Transition:
    move = transition("x", AlertState.FIRING, at=at)
    verdict = replace(move.alert.verdict, rule=rule, severity=severity)
    alert = replace(move.alert, key=AlertKey(rule, SeriesKey(entity, signal)), verdict=verdict)
    return replace(move, alert=alert)


def gpu_ring(at: float) -> Ring:
    keys = [SeriesKey(gpu, name) for gpu in (HOT, WELL) for name in ("gpu_temp", "gpu_ecc_uncorrected", "gpu_throttle")]
    ring = Ring(8, 60.0, max_series=20, ttl_seconds=1e9)
    ring.append(at, [Reading("gpus", at, Columns(tuple(keys)), np.zeros(len(keys)))])
    return ring


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, float]:
    """A folder as a daemon leaves it, and when: a budget that burnt two days ago, a pool without advice at the end."""
    folder = tmp_path_factory.mktemp("week")
    story = Story(step=600.0)
    for hour in range(7 * 24):
        for _ in range(6):
            story.step(90.0, 60.0 if 110 <= hour < 122 else 2.0)
    fleet = Fleet()
    capacity = Capacity(SETTINGS, fleet.time)

    async def advise() -> None:
        for _ in range(6):
            fleet.tick(80)
            await capacity.step(fleet.ring)
        for ticks in (40, 8):
            fleet.tick(ticks, running=nan)
            await capacity.step(fleet.ring)

    asyncio.run(advise())
    config = Config(store=StoreSettings(directory=folder), slo=SloSettings(objectives=(TTFT,)), capacity=SETTINGS)
    states = {
        SLO: SavedState(SLO, story.ledger.state(fleet.time.now())),
        CAPACITY: SavedState(CAPACITY, capacity.state()),
    }
    at = fleet.time.now()
    snapshot.write(config.store.snapshot_path, snapshot.capture(gpu_ring(at), states, at))
    journal = Journal(folder / "archive.sqlite", retention_seconds=1e12, max_bytes=2**40)
    journal.start()
    hot = fires("GpuThermalThrottle", "gpu_throttle_thermal", HOT, at - 2 * DAY)
    cool = replace(
        hot, at=at - 2 * DAY + 3 * HOUR, before=AlertState.FIRING, alert=hot.alert.moved(state=AlertState.RESOLVED)
    )
    journal.save(
        transitions=[hot, cool, fires("GpuUncorrectableEcc", "gpu_ecc_uncorrected", HOT, at - HOUR, Severity.CRITICAL)],
        marks=[Mark(MarkKind.XID, LOST, at - 5 * HOUR, "Xid 79"), Mark(MarkKind.GPU_LOST, LOST, at - 5 * HOUR, "gone")],
    )
    journal.flush(10)
    journal.close(10)
    return config, at


def test_a_week_is_told_from_what_was_kept(house: tuple[Config, float]) -> None:
    config, now = house
    kept = kept_of(config, now - 7 * DAY, now)
    assert (kept.problem, kept.at) == ("", now)
    (spent,) = kept.budgets
    assert (spent.objective, spent.pool) == ("90 % of ttft within 2.5 s", "chat/m")
    total, bad = 6 * 12 * 150.0 + 6 * 156 * 92.0, 6 * 12 * 60.0 + 6 * 156 * 2.0
    assert (spent.requests, spent.bad) == (total, bad)
    assert spent.left_ratio == pytest.approx(1.0 - bad / total / 0.1)
    assert max(spent.course) == pytest.approx(4.0)
    assert sum(rate > 1.0 for rate in spent.course) in (2, 3)
    (pool,) = kept.pools
    assert pool.pool == "chat/org/m"
    assert pool.present[-1][1] == 2.0
    assert sum(not isnan(count) for _, count in pool.present) == 14, "both ends of seven pieces"
    assert isnan(pool.advised[-1][1])
    assert all(count >= 1.0 for _, count in pool.advised if not isnan(count))
    young, silence = pool.silent
    assert "are needed" in young[2]
    assert young[1] - young[0] == 80 * 5.0
    assert silence[1] - silence[0] == 8 * 5.0
    assert "running" in silence[2]


def test_the_page_shows_it(house: tuple[Config, float]) -> None:
    config, now = house
    since = now - 7 * DAY
    view = ArchiveView(config.store.directory / "archive.sqlite")
    review = review_of(view, since, now, kept_of(config, since, now), budget_per_week=1.0)
    page, text = html(review), markdown(review)
    for words in ("1 × GpuThermalThrottle, 3h", "1: Xid 79", "1 × gpu lost", "at most 4 ×", "chat/org/m"):
        assert words in page, words
        assert words in text.replace("\\", ""), words
    assert page.count("<svg") == 3  # a budget, a pool, the GPUs
    assert review.gpus[1].checks == {
        "Xid": "unknown", "ECC": "none", "throttling": "none", "row remap": "unknown", "other": "none"
    }  # fmt: skip
    assert [len(gpu.troubles) for gpu in review.gpus] == [2, 0, 1]


def strange(path: Path) -> None:
    """A snapshot whose budgets are not what they should be."""
    states = {SLO: SavedState(SLO, {"fixed_head": np.zeros(2, np.uint8)})}
    snapshot.write(path, snapshot.capture(gpu_ring(1.0), states, 1.0))


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"PK\x03\x04 no"), strange])
def test_nothing_is_made_up_and_a_daemons_file_stays(
    house: tuple[Config, float], harm: Callable[[Path], object], tmp_path: Path
) -> None:
    path, now = tmp_path / "snapshot.npz", house[1]
    path.write_bytes(house[0].store.snapshot_path.read_bytes())
    harm(path)
    before = path.read_bytes() if path.exists() else None
    kept = kept_of(Config(store=StoreSettings(directory=tmp_path)), now - DAY, now)
    assert (kept.budgets, kept.pools) == ((), ())
    assert kept.problem
    assert (path.read_bytes() if path.exists() else None) == before


def test_without_a_snapshot_it_is_unknown_and_not_fine(house: tuple[Config, float]) -> None:
    config, now = house
    review = review_of(
        ArchiveView(config.store.directory / "archive.sqlite"),
        now - DAY,
        now,
        Kept(problem="no snapshot"),
        budget_per_week=1.0,
    )
    text = markdown(review)
    assert text.count("Unknown: no snapshot of a daemon could be read.") == 3
    assert "no snapshot" in review.note
    hot = next(gpu for gpu in review.gpus if gpu.name == "GPU-1")
    assert (hot.checks["ECC"], hot.checks["row remap"]) == ("1 × GpuUncorrectableEcc, 1h", "unknown")


def test_a_gpu_that_nobody_heard_of_is_not_listed() -> None:
    assert gpus_of(None, [], []) == []
