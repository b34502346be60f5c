"""Distance of a signal from what its load explains: "slow for this load", so that a load swing is no anomaly.

Each entity has, per relation of :data:`RELATIONS`, a linear model of the target y given regressors x, kept as running
moments and shrunk towards the slopes of its group (the pool of a replica, the node of a GPU), which counts as
``PRIOR_POINTS`` points::

    expected = mean(y) + slopes · (x − mean(x))        slopes = (C_xx + prior)⁻¹ (C_xy + prior)
    leverage = 1/n + d' (C_xx + prior)⁻¹ d / n         d = x − mean(x): little data far away makes a wide band
    variance = max(v · size² · (1 + leverage), floors)  size = max(|expected|, |mean(y)|); v is relative noise
    score    = |y − expected| / half width, on the side that hurts

Nothing is said (NaN) while a regressor is unknown, before ``minimum_samples`` points, when no regressor of the
relation has moved by its ``least`` standard deviation (in the entity or its group): then load explains nothing and
the z-score says the same better. A regressor that has not moved is left out for as long as it stays where it was,
within ``least``; and nothing is said ``reach`` standard deviations beyond what was seen.

A fault that comes slowly is learnt until it is seen; :meth:`Residual.unlearn` then goes back to the model before it.

Pools are not judged: their regressors are sums, and move with the number of replicas. Blind to a slowness that grows
slower than the memory of the relation, and to one that raises the load it is explained by in the same proportion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.band import Floats, banded, distance, half_width
from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState, Kept
from aiops.detect.groups import group_of
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import Entity, EntityKind, SeriesKey


@dataclass(frozen=True, slots=True)
class Relation:
    """What explains what.

    Attributes
    ----------
    targets
        Signal and statistic of each y.
    regressors
        One or two signals (plain values) of the same entity, each with the least standard deviation that counts as
        movement, in the signal's unit.
    reach
        Standard deviations beyond the seen mean up to which the line is believed.
    over_seconds
        Regressors are averaged over this long, at least two rows: what is counted between two ticks is explained by
        the load between them, and heat by the power of the last minute.
    words
        How a person calls a target that is too high, and too low.
    """

    targets: tuple[tuple[str, str], ...]
    regressors: tuple[tuple[str, float], ...]
    reach: float
    over_seconds: float = 0.0
    words: tuple[str, str] = ("slow for this load", "fast for this load")


# Not the mean: one burst between two looks at the queue moves it, and the queue does not show it.
_TTFT = (("ttft", "p50"), ("ttft", "p95"))
_POWER = ("much power for this activity", "little power for this activity")
RELATIONS = (
    Relation((("itl", "mean"), ("itl", "p95"), ("tpot", "mean")), (("running", 1.0),), reach=6.0),
    Relation(_TTFT, (("queue_len", 1.0), ("tokens_in", 50.0)), reach=4.0),
    Relation(_TTFT, (("queue_len", 1.0),), reach=4.0),
    # Tokens saturate with the batch, so the line is not believed far out.
    Relation(
        (("tokens_out", ""),), (("running", 1.0),), reach=3.0, words=("fast for this load", "few tokens for this load")
    ),
    Relation((("gpu_power", ""),), (("gpu_tensor_active", 0.05),), reach=4.0, words=_POWER),
    Relation((("gpu_power", ""),), (("gpu_util", 0.1),), reach=4.0, words=_POWER),
    Relation(
        (("gpu_temp", ""), ("gpu_mem_temp", "")),
        (("gpu_power", 20.0),),
        reach=4.0,
        over_seconds=60.0,
        words=("hot for this power", "cool for this power"),
    ),
)
"""Of several relations of a target, the first whose regressors the entity has."""
KINDS = (EntityKind.REPLICA, EntityKind.GPU)
PRIOR_POINTS = 30.0
"""Points that the slopes of the group count as."""
LEAST_SLOPE_POINTS = 20
"""Before this many points a line through them would be a line through noise."""
RIDGE = 1e-3
"""Share of its variance added to each regressor, for two that move together."""
HUBER_SIGMA = 3.0
"""A point farther off teaches the line as if it were this far off."""
ONSET_POINTS, ONSET_PARDON, WIDEN = 3, 1 / 16, 0.5
"""What a point out of bounds may teach the noise; as for the z-score: the onset of a run, slowly, and bounded."""

_Floats = NDArray[np.float64]
_Columns = NDArray[np.intp]
_COUNTS = ("variance", "count", "run")
_MOMENTS = ("x1", "x2", "y", "c11", "c12", "c22", "c1y", "c2y")
_MODEL = ("count", "variance", *_MOMENTS)


class _Targets(NamedTuple):
    """All targets of a window. ``columns``, ``group``, ``relation`` intp [n]; ``regressors`` intp [2, n], −1 where
    there is only one; ``least`` float64 [2, n], ``reach`` float64 [n]."""

    columns: _Columns
    group: _Columns
    relation: _Columns
    regressors: NDArray[np.intp]
    least: _Floats
    reach: _Floats


class _View(NamedTuple):
    """The newest row against the models: ``x`` float64 [2, targets]; ``line`` and ``size`` [targets], also where
    nothing is claimed; ``expected``, ``half`` and ``score`` [capacity]."""

    x: _Floats
    line: _Floats
    size: _Floats
    expected: _Floats
    half: Floats
    score: Floats
    moments: dict[str, _Floats]


class Residual:
    """The detector; see the module.

    Parameters
    ----------
    settings
        Threshold, least points, memory.
    policy
        Floors and directions of the columns; shared with the other detectors.
    """

    name = "residual"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._settings = settings
        self._policy = policy
        self._columns = ColumnState(**dict.fromkeys((*_COUNTS, *_MOMENTS), 0.0), relation=-1.0)
        self._kept = Kept(*_MODEL)
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._targets = _targets(())
        self._latest: tuple[Window, _View] | None = None

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        view, policy = self._view(window), self._policy.columns(window)
        with np.errstate(over="ignore"):  # beyond float32 there is no bound
            return banded(view.score, view.expected, view.half, policy)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take in the newest row: the line where ``quiet``, the noise also at the onset of a run."""
        view, state, columns = self._view(window), self._columns, self._targets.columns
        self._latest = None
        y = window.values[-1, columns].astype(np.float64)
        score, part = view.score[columns], view.moments
        outside, run = score >= 1, part["run"]
        known = np.isfinite(y) & np.isfinite(view.x).all(axis=0)
        taken = known & quiet[columns]
        onset = outside & (run < ONSET_POINTS)
        state["run"][columns] = np.where(
            outside, run + 1, np.where(np.isfinite(score), np.maximum(run - ONSET_PARDON, 0), run)
        )
        residual = y - view.line
        self._learn_noise(residual, (taken | onset) & known, view)
        half = view.half[columns]
        reach = np.where(np.isfinite(half), HUBER_SIGMA / self._sigmas * half, np.inf)
        self._learn_line(np.clip(residual, -reach, reach), taken, view)
        if self._kept.due(window.step_seconds):
            self._kept.take(self._columns, self._columns["count"] >= self._settings.minimum_samples)

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Accept that ``columns`` (bool [capacity]) lie off their lines as they did lately: the slopes stay."""
        self._follow(window)
        self._latest = None
        targets = self._targets
        differences = []
        for back in range(min(self._settings.level_memory_points, len(window.values) - 1)):
            rows = window.values[: len(window.values) - back]
            x = self._regressors(rows, window.step_seconds)
            line, _, _ = self._line(x, self._moments())
            differences.append(rows[-1, targets.columns] - line)
        table = np.array(differences).reshape(len(differences), -1)
        chosen = np.flatnonzero(columns[targets.columns] & np.isfinite(table).any(axis=0))
        if len(chosen):
            self._columns["y"][targets.columns[chosen]] += np.nanmedian(table[:, chosen], axis=0)
            self._columns["run"][targets.columns[chosen]] = 0
            self._kept.forget(targets.columns[chosen])

    def unlearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Go back to the models that ``columns`` (bool [capacity]) had before their incident began to be learnt."""
        self._follow(window)
        self._latest = None
        before = self._kept.before(columns)
        known = np.isfinite(before["count"])
        chosen = np.flatnonzero(columns)[known]
        for name, model in before.items():
            self._columns[name][chosen] = model[known]

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Per target column the means and central moments, relative noise, points; ``relation`` is its index."""
        return self._columns.state()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)
        self._kept = Kept(*_MODEL)
        self._keys, self._latest = None, None

    def explain(self, column: int) -> str:
        """Say what load explains of a column; between score and learn, empty where it was not judged."""
        if self._latest is None or not np.isfinite(self._latest[1].score[column]):
            return ""
        window, view = self._latest
        place = int(np.flatnonzero(self._targets.columns == column)[0])
        relation, key = RELATIONS[self._targets.relation[place]], window.keys[column]
        if key is None:
            return ""
        value, expected = float(window.values[-1, column]), float(view.expected[column])
        load = " and ".join(
            f"{name} = {x:.4g}" for (name, _), x in zip(relation.regressors, view.x[:, place], strict=False)
        )
        return (
            f"{relation.words[value < expected]}: {key.signal} {value:.3g} {SIGNALS[key.signal].unit}, "
            f"expected {expected:.3g} at {load}"
        )

    @property
    def _sigmas(self) -> float:
        return self._settings.threshold_sigma

    def _view(self, window: Window) -> _View:
        # Score and learn see the same window: the second of them need not compute it again.
        if self._latest is None or self._latest[0] is not window:
            self._follow(window)
            self._latest = (window, self._computed(window))
        return self._latest[1]

    def _follow(self, window: Window) -> None:
        self._columns.follow(window)
        self._kept.follow(window)
        # The tuple is held, so its identity cannot be given to another one.
        if window.keys is self._keys:
            return
        self._keys, self._targets = window.keys, _targets(window.keys)
        columns, relation = self._targets.columns, self._columns["relation"]
        # A model of other regressors is no model of these.
        other = columns[relation[columns] != self._targets.relation]
        for name in (*_COUNTS, *_MOMENTS):
            self._columns[name][other] = 0
        self._kept.forget(other)
        relation[columns] = self._targets.relation

    def _moments(self) -> dict[str, _Floats]:
        return {name: self._columns[name][self._targets.columns].astype(np.float64) for name in (*_COUNTS, *_MOMENTS)}

    def _regressors(self, rows: NDArray[np.float32], step_seconds: float) -> _Floats:
        """Mean of the regressors over the newest rows as far as known, float64 [2, targets]; 0 where there is none."""
        targets = self._targets
        x = np.zeros(targets.regressors.shape)
        for number in np.unique(targets.relation):
            chosen = np.flatnonzero(targets.relation == number)
            depth = max(2, round(RELATIONS[number].over_seconds / step_seconds) + 1)
            for place in range(len(RELATIONS[number].regressors)):
                part = rows[-depth:, targets.regressors[place, chosen]].astype(np.float64)
                known = np.isfinite(part)
                counted = known.sum(axis=0)
                mean = np.where(known, part, 0).sum(axis=0) / np.maximum(counted, 1)
                # A load that is not known now explains nothing.
                x[place, chosen] = np.where(known[-1], mean, np.nan)
        return x

    def _computed(self, window: Window) -> _View:
        policy, targets = self._policy.columns(window), self._targets
        moments = self._moments()
        x = self._regressors(window.values, window.step_seconds)
        line, leverage, believed = self._line(x, moments)
        size = np.maximum(np.maximum(np.abs(line), np.abs(moments["y"])), 1e-12)
        ready = believed & (moments["count"] >= self._settings.minimum_samples)
        expected = np.full(len(window.keys), np.nan)
        variance = np.full(len(window.keys), np.nan)
        expected[targets.columns] = np.where(ready, line, np.nan)
        variance[targets.columns] = moments["variance"] * size**2 * (1 + leverage)
        half = half_width(expected, variance, policy, self._sigmas)
        score = distance(window.values[-1] - expected, half, policy)
        return _View(x, line, size, expected, half, score, moments)

    def _line(self, x: _Floats, part: Mapping[str, _Floats]) -> tuple[_Floats, _Floats, NDArray[np.bool_]]:
        """Value on the line, leverage of ``x``, and whether the line may be believed there; [targets] each."""
        targets, count = self._targets, part["count"]
        own = np.stack([part[name] for name in ("c11", "c12", "c22", "c1y", "c2y")])
        c11, c12, c22, c1y, c2y = _shrunk(own, count, targets.group)
        spread = np.sqrt(np.stack([c11, c22]))
        moved = (spread >= targets.least) & (count >= LEAST_SLOPE_POINTS)
        d = x - np.stack([part["x1"], part["x2"]])
        used = np.where(moved & np.isfinite(d), d, 0)
        # A regressor that has not moved is taken out of the system: 1 on the diagonal, 0 elsewhere.
        a11 = np.where(moved[0], c11 * (1 + RIDGE), 1.0)
        a22 = np.where(moved[1], c22 * (1 + RIDGE), 1.0)
        a12 = np.where(moved.all(axis=0), c12, 0.0)
        c1y, c2y = np.where(moved[0], c1y, 0.0), np.where(moved[1], c2y, 0.0)
        determinant = a11 * a22 - a12 * a12
        slope1, slope2 = (a22 * c1y - a12 * c2y) / determinant, (a11 * c2y - a12 * c1y) / determinant
        line = part["y"] + slope1 * used[0] + slope2 * used[1]
        form = (a22 * used[0] ** 2 - 2 * a12 * used[0] * used[1] + a11 * used[1] ** 2) / determinant
        leverage = (1 + form) / np.maximum(count, 1)
        known = np.isfinite(x).all(axis=0)
        near = (np.abs(d) <= np.where(moved, targets.reach * spread, targets.least)).all(axis=0)
        return line, leverage, known & near & moved.any(axis=0)

    def _learn_noise(self, residual: _Floats, taught: NDArray[np.bool_], view: _View) -> None:
        columns, part = self._targets.columns, view.moments
        # The first points lie on no line yet.
        taught = taught & (part["count"] >= 2)
        points = np.clip(part["count"], 1, self._settings.scale_memory_points)
        change = (np.where(taught, residual, 0) / view.size) ** 2 - part["variance"]
        change *= taught / points
        most = WIDEN * (view.half[columns] / (self._sigmas * view.size)) ** 2
        self._columns["variance"][columns] += np.minimum(change, np.where(np.isfinite(most), most, np.inf))

    def _learn_line(self, residual: _Floats, taken: NDArray[np.bool_], view: _View) -> None:
        """Move the moments by the newest point, whose y is ``residual`` off the line."""
        columns, part, state = self._targets.columns, view.moments, self._columns
        gain = taken / np.minimum(part["count"] + 1, self._settings.scale_memory_points)
        d1, d2 = (np.where(taken, view.x[i] - part[name], 0) for i, name in enumerate(("x1", "x2")))
        dy = np.where(taken, view.line + residual - part["y"], 0)
        for name, step in (("x1", d1), ("x2", d2), ("y", dy)):
            state[name][columns] = part[name] + gain * step
        pairs = {"c11": d1 * d1, "c12": d1 * d2, "c22": d2 * d2, "c1y": d1 * dy, "c2y": d2 * dy}
        for name, product in pairs.items():
            state[name][columns] = (1 - gain) * (part[name] + gain * product)
        state["count"][columns] = np.minimum(part["count"] + taken, 2 * self._settings.scale_memory_points)


def _shrunk(own: _Floats, count: _Floats, group: _Columns) -> _Floats:
    """Moments [5, n] of each target mixed with the mean of its group, by their numbers of points."""
    sums = np.stack([np.bincount(group, moment * count) for moment in own])
    points = np.maximum(np.bincount(group, count), 1.0)
    prior = (sums / points)[:, group]
    return np.asarray((own * count + prior * PRIOR_POINTS) / (count + PRIOR_POINTS), np.float64)


def _targets(keys: Sequence[SeriesKey | None]) -> _Targets:
    place = {key: column for column, key in enumerate(keys) if key is not None and key.entity.kind in KINDS}
    groups: dict[tuple[Entity, str, str, int], int] = {}
    wanted = {target for relation in RELATIONS for target in relation.targets}
    rows: list[tuple[float, ...]] = []
    for key, column in place.items():
        if (key.signal, key.stat) not in wanted:
            continue
        for number, relation in enumerate(RELATIONS):
            of = [place.get(SeriesKey(key.entity, name), -1) for name, _ in relation.regressors]
            if (key.signal, key.stat) in relation.targets and min(of) >= 0:
                identity = (group_of(key.entity) or key.entity, key.signal, key.stat, number)
                group = groups.setdefault(identity, len(groups))
                least = [least for _, least in relation.regressors]
                # Without a second regressor: one that is 0 and can never move.
                of, least = (of, least) if len(of) == 2 else ([*of, -1], [*least, np.inf])
                rows.append((column, group, number, *of, *least, relation.reach))
                break
    table = np.array(rows, np.float64).reshape(-1, 8).T
    columns, group, relation_of = (part.astype(np.intp) for part in table[:3])
    return _Targets(columns, group, relation_of, table[3:5].astype(np.intp), table[5:7], table[7])
