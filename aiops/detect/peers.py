"""Distance of each replica from the others of its pool, and of each GPU from its node siblings, now.

For every member of a group that is known this tick, with x its value::

    centre   = median of the *other* members
    spread   = 1.4826 · median |value − median of all|, widened for small groups
    expected = centre + offset
    variance = max(spread², own long-remembered noise · expected², floors of the policy)
    score    = |x − expected| / half width, on the side that hurts

It needs no history, so it judges a series from its first value on; what it learns is only how far this series
usually is from its peers. A member with fewer than ``LEAST_PEERS`` known peers is not judged (NaN), and neither is
one that does nothing among peers that work, or the other way round: a balancer may leave a replica idle, and an idle
GPU is cool for a good reason. ``offset`` is 0 until the bank accepts a lasting difference (a slower card, a hotter
slot) through :meth:`Peers.relearn`.

Blind by construction to what befalls all members alike; that is the business of the others.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.band import Floats, banded, distance, half_width
from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState
from aiops.detect.groups import group_of
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import Entity, EntityKind, SeriesKey

COMPARED: Mapping[EntityKind, frozenset[tuple[str, str]]] = {
    EntityKind.REPLICA: frozenset(
        {
            ("itl", "mean"), ("itl", "p95"), ("tpot", "mean"), ("ttft", "p50"), ("ttft", "p95"), ("queue_time", "mean"),
            ("queue_len", ""), ("running", ""), ("kv_use", ""), ("tokens_out", ""), ("prefix_hit", ""),
            ("errors", ""), ("preemptions", ""), ("probe_ttft", ""),
        }
    ),
    EntityKind.GPU: frozenset(
        {("gpu_temp", ""), ("gpu_mem_temp", ""), ("gpu_power", ""), ("gpu_sm_clock", ""), ("gpu_ecc_corrected", "")}
    ),
}  # fmt: skip
"""Signals (name, statistic) in which a difference between members means something."""
WORK: Mapping[EntityKind, tuple[str, float]] = {
    EntityKind.REPLICA: ("running", 0.5),
    EntityKind.GPU: ("gpu_util", 0.05),
}
"""Signal that tells who works, and above which value; where it is unknown a member counts as working."""
LEAST_PEERS = 3
"""Two peers cannot tell which of three is wrong when all differ."""
MAD_TO_SIGMA = 1.4826
MEDIAN_VARIANCE = 1.5708
"""π/2: variance of the median of n Gaussian values, in σ²/n."""
ONSET_POINTS, ONSET_PARDON, WIDEN = 3, 1 / 16, 0.5
"""What a point out of bounds may teach the noise; as for the z-score: the onset of a run, slowly, and bounded."""
SHIFT_ROWS = 60
"""Newest rows over which a lasting difference is measured when it is accepted."""

_Columns = NDArray[np.intp]


class _Groups(NamedTuple):
    """Members of all groups, laid end to end.

    ``columns`` intp [members]; ``group`` intp [members]; ``work`` intp [members], the column that tells whether a
    member works, −1 = nobody knows; ``busy_above`` float32 [members].
    """

    columns: _Columns
    group: _Columns
    work: _Columns
    busy_above: NDArray[np.float32]


class _View(NamedTuple):
    """The newest row against the peers; float32 [capacity] each, NaN where not judged."""

    centre: NDArray[np.float32]
    peers: NDArray[np.float32]
    expected: NDArray[np.float32]
    half: Floats
    score: Floats


class Peers:
    """The detector; see the module.

    Parameters
    ----------
    settings
        Threshold and memory of the noise.
    policy
        Floors and directions of the columns; shared with the other detectors.
    """

    name = "peers"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._settings = settings
        self._policy = policy
        self._columns = ColumnState(offset=0.0, variance=0.0, count=0.0, run=0.0)
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._groups = _groups(())
        self._latest: tuple[Window, _View] | None = None

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        view, policy = self._view(window), self._policy.columns(window)
        return banded(view.score, view.expected, view.half, policy)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take in how far each member was from its peers: where ``quiet``, and at the onset of a run."""
        view, state = self._view(window), self._columns
        self._latest = None
        chosen = np.flatnonzero(np.isfinite(view.score))
        expected, half = view.expected[chosen], view.half[chosen]
        outside, run = view.score[chosen] >= 1, state["run"][chosen]
        taught = quiet[chosen] | (outside & (run < ONSET_POINTS))
        state["run"][chosen] = np.where(outside, run + 1, np.maximum(run - ONSET_PARDON, 0))
        # Relative to what is expected: a busy hour is noisier than a quiet one. Around 0 the floors decide.
        size = np.maximum(np.abs(expected), half / self._settings.threshold_sigma)
        memory = self._settings.scale_memory_points
        change = ((window.values[-1, chosen] - expected) / size) ** 2 - state["variance"][chosen]
        # As if some usual points had been seen: one odd first value shall not open the band for good.
        change *= taught / (np.minimum(state["count"][chosen], memory) + self._settings.minimum_samples)
        most = WIDEN * (half / (self._settings.threshold_sigma * size)) ** 2
        state["variance"][chosen] += np.minimum(change, most)
        state["count"][chosen] = np.minimum(state["count"][chosen] + taught, 2 * memory)

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Accept that ``columns`` (bool [capacity]) differ from their peers as they did lately."""
        self._follow(window)
        self._latest = None
        members = self._groups.columns
        differences = []
        for row in window.values[-SHIFT_ROWS:]:
            centre, _, _ = self._statistics(row)
            differences.append(row[members] - centre)
        table = np.array(differences)
        chosen = np.flatnonzero(columns[members] & np.isfinite(table).any(axis=0))
        if len(chosen):
            self._columns["offset"][members[chosen]] = np.nanmedian(table[:, chosen], axis=0)
            self._columns["run"][members[chosen]] = 0

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``offset`` (accepted difference), ``variance`` (relative), ``count`` (points), ``run`` (points outside)."""
        return self._columns.state()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)
        self._latest = None

    def explain(self, column: int) -> str:
        """Say how far a column is from its peers; between score and learn, empty where it was not judged."""
        if self._latest is None or not np.isfinite(self._latest[1].score[column]):
            return ""
        window, view = self._latest
        value, centre, peers = float(window.values[-1, column]), float(view.centre[column]), int(view.peers[column])
        key = window.keys[column]
        unit = "" if key is None or key.signal not in SIGNALS else SIGNALS[key.signal].unit
        of_all = f"the median of its {peers} peers, {centre:.4g} {unit}"
        if unit not in ("celsius", "ratio") and centre > 0 and value > 0:
            return f"{value / centre:.2g} × {of_all}"
        return f"{abs(value - centre):.4g} {unit} {'above' if value > centre else 'below'} {of_all}"

    def _view(self, window: Window) -> _View:
        # Score and learn see the same window: the second of them need not compute it again.
        if self._latest is None or self._latest[0] is not window:
            self._follow(window)
            self._latest = (window, self._computed(window))
        return self._latest[1]

    def _follow(self, window: Window) -> None:
        self._columns.follow(window)
        # The tuple is held, so its identity cannot be given to another one.
        if window.keys is not self._keys:
            self._keys, self._groups = window.keys, _groups(window.keys)

    def _computed(self, window: Window) -> _View:
        policy, state, members = self._policy.columns(window), self._columns, self._groups.columns
        capacity = len(window.keys)
        centre, spread, peers = (np.full(capacity, np.nan, np.float32) for _ in range(3))
        centre[members], spread[members], peers[members] = self._statistics(window.values[-1])
        expected = centre + state["offset"]
        variance = np.maximum(spread * spread, state["variance"] * expected * expected)
        half = half_width(expected, variance, policy, self._settings.threshold_sigma)
        score = distance(window.values[-1] - expected, half, policy)
        return _View(centre, peers, expected, half, score)

    def _statistics(self, row: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Median of the others, spread of the group, number of others; float32 [members], NaN where too few."""
        groups = self._groups
        values = row[groups.columns]
        working = ~(row[groups.work] <= groups.busy_above) | (groups.work < 0)
        answers = tuple(np.full(len(values), np.nan, np.float32) for _ in range(3))
        known = np.flatnonzero(np.isfinite(values))
        found = others(values[known], groups.group[known] * 2 + working[known])
        for answer, array in zip(answers, found, strict=True):
            answer[known] = array
        return answers


def others(values: NDArray[np.float32], group: _Columns) -> tuple[NDArray[np.float32], ...]:
    """Compare each value with the rest of its group.

    Parameters
    ----------
    values
        float32 [n], finite.
    group
        intp [n], any numbers.

    Returns
    -------
    centre, spread, peers
        float32 [n] each: the median of the other values of its group, the standard deviation that the group's
        median absolute deviation stands for, and how many others there are. NaN with fewer than ``LEAST_PEERS``.
    """
    order = np.argsort(_sortable(values, group))
    ordered, of = values[order], group[order]
    first = np.empty(len(of), np.bool_)
    first[:1] = True
    np.not_equal(of[1:], of[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=len(of))
    deviation = np.abs(ordered - np.repeat(_middle(ordered, starts, lengths), lengths))
    mad = _middle(deviation[np.argsort(_sortable(deviation, of))], starts, lengths)
    # n / (n − 0.8): the MAD of few values is too small; and the centre is itself an estimate.
    peers = lengths - 1.0
    spread = mad * MAD_TO_SIGMA * lengths / (lengths - 0.8) * np.sqrt(1 + MEDIAN_VARIANCE / np.maximum(peers, 1))
    peers[peers < LEAST_PEERS] = np.nan
    centre = _leave_one_out(ordered, starts, lengths)
    answers = np.empty((3, len(of)), np.float32)
    answers[0, order] = centre
    answers[1, order] = np.repeat(spread, lengths)
    answers[2, order] = np.repeat(peers, lengths)
    answers[:, np.isnan(answers[2])] = np.nan
    return tuple(answers)


def _leave_one_out(ordered: NDArray[np.float32], starts: _Columns, lengths: _Columns) -> NDArray[np.float32]:
    """Median of each group of sorted values without the value itself, float32 [n]; of one value, anything."""
    place, last = np.arange(len(ordered)), len(ordered) - 1
    centre = np.zeros(len(ordered), np.float32)
    for middle in (starts + np.maximum(lengths - 2, 0) // 2, starts + (lengths - 1) // 2):
        taken = np.repeat(middle, lengths)
        # The k-th of the others is the k-th of all, or the one after it from the left-out place on.
        taken += taken >= place
        centre += ordered[np.minimum(taken, last)]
    centre *= np.float32(0.5)
    return centre


def _sortable(values: NDArray[np.float32], group: _Columns) -> NDArray[np.int64]:
    """Order by group, then by value, as one integer: four times as fast to sort as the two.

    The bits of floats order like integers, backwards below 0.
    """
    bits = values.view(np.int32)
    bits = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    return (group.astype(np.int64) << 32) + bits


def _middle(ordered: NDArray[np.float32], starts: _Columns, lengths: _Columns) -> NDArray[np.float32]:
    """Median of each group of sorted values, float32 [groups]."""
    both = ordered[starts + (lengths - 1) // 2] + ordered[starts + lengths // 2]
    return np.asarray(both * np.float32(0.5), np.float32)


def _groups(keys: tuple[SeriesKey | None, ...]) -> _Groups:
    numbers: dict[tuple[Entity, str, str], int] = {}
    of_work = {
        key.entity: column
        for column, key in enumerate(keys)
        if key is not None and key.signal == WORK.get(key.entity.kind, ("", 0.0))[0]
    }
    rows: list[tuple[int, int, int, float]] = []
    for column, key in enumerate(keys):
        if key is None or (key.signal, key.stat) not in COMPARED.get(key.entity.kind, ()):
            continue
        group = group_of(key.entity)
        if group is not None:
            number = numbers.setdefault((group, key.signal, key.stat), len(numbers))
            rows.append((column, number, of_work.get(key.entity, -1), WORK[key.entity.kind][1]))
    table = np.array(rows, np.float64).reshape(-1, 4).T
    columns, group, work = (part.astype(np.intp) for part in table[:3])
    return _Groups(columns, group, work, table[3].astype(np.float32))
