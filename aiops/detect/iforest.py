"""How unusual all signals of an entity are together, by an isolation forest of its role.

A role is what may be compared: all GPUs, all nodes, the replicas of one pool and model. One forest per role, grown in
the fit worker from what its entities showed within the window; here it scores one row per entity and tick, all in one
call per role. The score of an entity is the vote on each of its series that the forest knows::

    score = (isolation − usual) / (rare − usual)      usual, rare: quantiles over the rows that the forest grew from

A voter and a ranker, not a pager: forests rank well and alert badly (they do not know direction, load or what matters),
so the bank takes no breach from this one alone.

The set of signals may change: one that the forest does not know is left out until the next forest, one that is missing
counts as the role's median, and an entity of which less than half is known gets no vote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.fitting import Arrays, part, prefixed, text_array, text_of
from aiops.detect.forest import Forest
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.catalog import SIGNALS, Kind
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, SeriesKey

KINDS = (Kind.LEVEL, Kind.RATE, Kind.DISTRIBUTION)
"""Sorts of signals that are features; flags, codes and limits are the business of rules."""
LEAST_KNOWN = 0.5
LEAST_FEATURES = 3
LEAST_ROWS = 256
MOST_ROWS = 4096
"""Rows that a forest grows from; each tree sees 256 of them."""
MOST_ROLES = 32
"""Forests kept, some 330 KiB each; the roles with the most entities get one."""
LEAST_SPREAD = 0.05
"""Least distance between a usual and a rare isolation, so that a role without any life is not all anomalies."""

Feature = tuple[str, str]


class _Role(NamedTuple):
    """The entities of one role in a window; ``columns`` intp [entities, features], −1 where one has no such series."""

    name: str
    entities: tuple[Entity, ...]
    features: tuple[Feature, ...]
    columns: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Grown:
    """A forest, its features, and for a missing feature its ``median`` float32 [features]."""

    features: tuple[Feature, ...]
    forest: Forest
    median: NDArray[np.float32]
    usual: float
    rare: float


class IForest:
    """The detector; see the module."""

    name = "iforest"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._settings = settings
        self._policy = policy
        self._forests: dict[str, _Grown] = {}
        self._asked_at: dict[str, float] = {}
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._roles: tuple[_Role, ...] = ()
        self._places: dict[str, NDArray[np.intp]] = {}

    def score(self, window: Window) -> Scores:
        """Vote on each series of each entity; there is no expected value and no band."""
        score = np.full(len(window.keys), np.nan, np.float32)
        for role in self._followed(window):
            grown = self._forests.get(role.name)
            if grown is not None:
                columns = self._columns(role, grown)
                vote = self._votes(window, columns, grown)
                known = (columns >= 0) & np.isfinite(window.values[-1, columns])
                score[columns[known]] = np.broadcast_to(vote[:, np.newaxis], columns.shape)[known]
        nothing = np.full(len(window.keys), np.nan, np.float32)
        return Scores(score, nothing, nothing, nothing)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Nothing: forests grow in the fit worker."""

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Have the forest of the roles of these columns grown anew soon."""
        for role in self._followed(window):
            if columns[role.columns[role.columns >= 0]].any():
                self._asked_at.pop(role.name, None)

    def shares(self, window: Window, entity: Entity) -> dict[Feature, float]:
        """What each signal did to isolate an entity now; see :meth:`Forest.shares`. Empty without a forest."""
        for role in self._followed(window):
            grown = self._forests.get(role.name)
            if grown is not None and entity in role.entities:
                columns = self._columns(role, grown)[role.entities.index(entity)]
                row = _rows(window, columns[np.newaxis])[0]
                known = np.isfinite(row)
                found = grown.forest.shares(np.where(known, row, grown.median))
                return {feature: float(found[k]) for k, feature in enumerate(grown.features) if known[k]}
        return {}

    def ask(self, window: Window, most: int) -> Arrays | None:
        """Rows of the roles whose forest is due, those that waited longest first; ``most`` is in forests."""
        roles = self._followed(window)
        due = [
            role
            for role in sorted(roles, key=lambda role: self._asked_at.get(role.name, 0.0))
            if window.now - self._asked_at.get(role.name, 0.0) >= self._settings.fit.refit_after
        ]
        ask: dict[str, NDArray[Any]] = {}
        count = 0
        for role in due:
            rows = _history(window, role)
            if count < most and rows is not None:
                self._asked_at[role.name] = window.now
                names = text_array([role.name, role.features])
                ask |= prefixed({"rows": rows, "names": names}, str(count))
                count += 1
        return {**ask, "count": np.asarray(count)} if count else None

    def accept(self, window: Window, answer: Arrays) -> int:
        """Use the forests of an answer; those of roles that are gone are dropped."""
        count = int(answer["count"])
        for index in range(count):
            arrays = part(answer, str(index))
            name, features = text_of(arrays["names"])
            self._forests[name] = _grown(features, arrays)
        there = {role.name for role in self._followed(window)}
        self._forests = {name: grown for name, grown in self._forests.items() if name in there}
        self._places = {}
        return count

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The forests, under names that say that they are not per column."""
        state: dict[str, NDArray[Any]] = {}
        for index, (name, grown) in enumerate(self._forests.items()):
            arrays = {
                **grown.forest.arrays(),
                "median": grown.median,
                "scale": np.array([grown.usual, grown.rare]),
                "names": text_array([name, grown.features]),
                "asked_at": np.asarray(self._asked_at.get(name, 0.0)),
            }
            state |= {f"fixed_{index}_{key}": array for key, array in arrays.items()}
        return state

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`.

        Raises
        ------
        ValueError
            When arrays of a forest are missing or do not belong together.
        """
        forests: dict[str, _Grown] = {}
        asked_at: dict[str, float] = {}
        for index in sorted({key.split("_")[1] for key in state if key.startswith("fixed_")}):
            prefix = f"fixed_{index}_"
            arrays = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
            try:
                name, features = text_of(arrays["names"])
                forests[name] = _grown(features, arrays)
                asked_at[name] = float(arrays["asked_at"])
            except KeyError as error:
                raise ValueError(f"saved forest {index} lacks the array {error}") from error
        self._forests, self._asked_at, self._keys, self._places = forests, asked_at, None, {}

    def _votes(self, window: Window, columns: NDArray[np.intp], grown: _Grown) -> NDArray[np.float32]:
        """Score per entity, float32 [entities]; NaN where too little is known."""
        rows = _rows(window, columns)
        known = np.isfinite(rows)
        score = (grown.forest.score(np.where(known, rows, grown.median)) - grown.usual) / (grown.rare - grown.usual)
        enough = known.mean(axis=1) >= LEAST_KNOWN
        return np.where(enough, np.maximum(score, 0.0), np.nan).astype(np.float32)

    def _columns(self, role: _Role, grown: _Grown) -> NDArray[np.intp]:
        """Columns of the forest's features, intp [entities, features]; −1 for what an entity does not have."""
        found = self._places.get(role.name)
        if found is None:
            place = {feature: index for index, feature in enumerate(role.features)}
            found = np.full((len(role.entities), len(grown.features)), -1, np.intp)
            for index, feature in enumerate(grown.features):
                if feature in place:
                    found[:, index] = role.columns[:, place[feature]]
            self._places[role.name] = found
        return found

    def _followed(self, window: Window) -> tuple[_Role, ...]:
        """Roles of the window; the same objects while the tuple of keys is the same object."""
        if window.keys is not self._keys:
            self._keys, self._places = window.keys, {}
            self._roles = _roles(self._policy.columns(window).of_entity, window.keys)
            names = {role.name for role in self._roles}
            self._asked_at = {name: at for name, at in self._asked_at.items() if name in names}
        return self._roles


def role_of(entity: Entity) -> str:
    """What an entity may be compared with; empty for one that stands alone."""
    if entity.kind is EntityKind.REPLICA:
        return f"replicas of {pool_of(entity)}"
    return {EntityKind.GPU: "gpus", EntityKind.NODE: "nodes"}.get(entity.kind, "")


def _roles(of_entity: Mapping[Entity, NDArray[np.intp]], keys: Sequence[SeriesKey | None]) -> tuple[_Role, ...]:
    members: dict[str, list[Entity]] = {}
    for entity in of_entity:
        if role := role_of(entity):
            members.setdefault(role, []).append(entity)
    largest = sorted(members, key=lambda role: (-len(members[role]), role))[:MOST_ROLES]
    return tuple(_role(name, members[name], of_entity, keys) for name in largest)


def _role(
    name: str,
    entities: Sequence[Entity],
    of_entity: Mapping[Entity, NDArray[np.intp]],
    keys: Sequence[SeriesKey | None],
) -> _Role:
    features: dict[Feature, int] = {}
    cells: list[tuple[int, int, int]] = []
    for row, entity in enumerate(entities):
        for column in of_entity[entity].tolist():
            key = keys[column]
            signal = None if key is None else SIGNALS.get(key.signal)
            if key is not None and signal is not None and signal.kind in KINDS:
                cells.append((row, features.setdefault((key.signal, key.stat), len(features)), column))
    columns = np.full((len(entities), len(features)), -1, np.intp)
    if cells:
        rows, places, values = np.array(cells, np.intp).T
        columns[rows, places] = values
    return _Role(name, tuple(entities), tuple(features), columns)


def _rows(window: Window, columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """Newest values, float32 [entities, features]; NaN where unknown."""
    return np.where(columns >= 0, window.values[-1, columns], np.float32(np.nan))


def _history(window: Window, role: _Role) -> NDArray[np.float32] | None:
    """Rows of all entities over the window, evenly thinned; None when there are too few."""
    if len(role.features) < LEAST_FEATURES:
        return None
    stride = max(1, -(-len(window.values) * len(role.entities) // MOST_ROWS))
    # Odd entities at odd times: thinning takes each entity as often as the others, and no tick whole.
    flat = np.arange(0, len(window.values) * len(role.entities), stride)
    times, entities = flat // len(role.entities), flat % len(role.entities)
    columns = role.columns[entities]
    rows = np.where(columns >= 0, window.values[times[:, np.newaxis], columns], np.float32(np.nan))
    rows = rows[np.isfinite(rows).mean(axis=1) >= LEAST_KNOWN]
    return rows if len(rows) >= LEAST_ROWS else None


def _grown(features: Sequence[Sequence[str]], arrays: Mapping[str, NDArray[Any]]) -> _Grown:
    forest, median = Forest.of(arrays), np.asarray(arrays["median"], np.float32)
    if median.shape != (len(features),) or forest.feature.max(initial=0) >= len(features):
        raise ValueError(f"a forest over {len(features)} features has {median.shape} medians, or asks for others")
    usual, rare = (float(number) for number in arrays["scale"])
    pairs = tuple((signal, stat) for signal, stat in features)
    return _Grown(pairs, forest, median, usual, max(rare, usual + LEAST_SPREAD))
