"""What is planned: windows that come again, windows of one time, and deploys.

A window may hold alerts back and may stop learning. An alert that began in one is told when it is over and the alert
still stands, so nothing is lost; one that was told before goes on being told. Windows live by the wall clock and by the
clocks of their time zone; all else follows from ``now``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from aiops.detect.base import AlertKey, Severity
from aiops.incidents.places import Fleet, Place
from aiops.incidents.policy_settings import MaintenanceSettings, Skip, Weekday, WindowSettings
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, Labels, Mark, MarkKind, SeriesKey

_DAY_SECONDS = 86_400.0
_WEEKDAYS = tuple(Weekday)
_CHANGES = frozenset({MarkKind.DEPLOY, MarkKind.VERSION_CHANGED, MarkKind.RESTARTED})
_GRACE = _CHANGES - {MarkKind.RESTARTED}  # a crash is no plan
_MOST_CHANGES = 1000
_LEVELS = {"pool": "pool", "model_name": "model", "route": "route"}
_WORDS = {
    MarkKind.DEPLOY: "a deploy",
    MarkKind.VERSION_CHANGED: "a new version",
    MarkKind.RESTARTED: "a restart",
}


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in which something is planned.

    Attributes
    ----------
    id
        Names a window of one time; ``""`` for an occurrence of one that comes again.
    begins_at, ends_at
        UTC seconds.
    matches
        Label and pattern; empty: everything.
    by
        Who opened it.
    """

    id: str
    name: str
    begins_at: float
    ends_at: float
    matches: Labels
    skip: tuple[Skip, ...]
    by: str = ""

    def holds(self, now: float) -> bool:
        """Whether it is on at a time (UTC seconds)."""
        return self.begins_at <= now < self.ends_at

    def concerns(self, entity: Entity, rule: str = "", places: Sequence[Place] = ()) -> bool:
        """Whether it is about an entity, or about an alert of one.

        ``places`` are where the entity is (:meth:`aiops.incidents.places.Fleet.places`): a GPU belongs to who has it,
        where that is known, else as a host to all that its host serves. Of several all must match, so that nobody
        else's fault is held back.
        """
        values = (_labels(entity, name, places) if name != "alertname" else (rule,) for name, _ in self.matches)
        return all(
            all(fnmatchcase(value, pattern) for value in each)
            for each, (_, pattern) in zip(values, self.matches, strict=True)
        )


class Calendar:
    """Knows what is planned now; :meth:`turn` once per tick.

    Parameters
    ----------
    this_host
        Name of the machine that loopback addresses mean.
    """

    def __init__(self, settings: MaintenanceSettings, this_host: str = "") -> None:
        self._settings = settings
        self._fleet = Fleet(this_host)
        self._once: dict[str, Window] = {}
        self._changes: list[Mark] = []
        self._active: tuple[Window, ...] = ()
        self._keys: Sequence[SeriesKey | None] = ()
        self._tenancy = NO_TENANCY
        self._now = 0.0
        self.frozen: frozenset[Entity] = frozenset()
        """Entities of which nothing is learnt now."""

    def turn(
        self,
        now: float,
        keys: Sequence[SeriesKey | None],
        marks: Iterable[Mark] = (),
        tenancy: Tenancy = NO_TENANCY,
    ) -> None:
        """Go on to ``now`` (UTC seconds), with the series of the window, what happened since the turn before, and who
        has which GPU."""
        self._now = now
        self._changes += [mark for mark in marks if mark.kind in _CHANGES]
        self._changes = [mark for mark in self._changes if self._age(mark) <= self._settings.deploy_memory]
        del self._changes[:-_MOST_CHANGES]
        self._once = {name: window for name, window in self._once.items() if window.ends_at > now}
        active = tuple(window for window in self.windows(now) if window.holds(now))
        if active != self._active or keys is not self._keys or tenancy is not self._tenancy:
            self._active, self._keys, self._tenancy = active, keys, tenancy
            if active:
                self._fleet.follow(keys, tenancy)
            still = [window for window in active if Skip.LEARNING in window.skip]
            entities = dict.fromkeys(key.entity for key in keys if key is not None) if still else ()
            self.frozen = frozenset(one for one in entities if any(self._concerns(window, one) for window in still))

    def muted(self, key: AlertKey, severity: Severity) -> str:
        """Why an alert that begins now is not told yet; ``""`` when it is."""
        entity = key.series.entity
        for window in self._active:
            if Skip.ALERT in window.skip and self._concerns(window, entity, key.rule):
                return f"maintenance: {window.name}"
        if severity is not Severity.CRITICAL:
            for mark in self._of(entity):
                if mark.kind in _GRACE and self._age(mark) < self._settings.deploy_grace:
                    return f"settling after {_WORDS[mark.kind]}"
        return ""

    def after(self, entity: Entity) -> str:
        """What changed lately where an alert begins, in words; ``""`` when nothing did."""
        mark = next(self._of(entity), None)
        return "" if mark is None else f"{max(self._age(mark), 0.0):.0f} s after {_WORDS[mark.kind]}: {mark.detail}"

    def windows(self, now: float) -> Iterator[Window]:
        """Windows that are on or will come: of those that come again the present or next one."""
        for settings in self._settings.windows:
            found = occurrence(settings, now)
            if found is not None:
                yield found
        yield from sorted(
            (one for one in self._once.values() if one.ends_at > now), key=lambda window: (window.begins_at, window.id)
        )

    def open(self, windows: Iterable[Window]) -> None:
        """Plan windows of one time; one of a known id replaces it."""
        self._once |= {window.id: window for window in windows}

    def find(self, name: str) -> Window | None:
        """A window of one time by its id."""
        return self._once.get(name)

    def succeed(self, before: "Calendar") -> None:
        """Go on where another calendar stands, with other settings."""
        self._once, self._changes = dict(before._once), list(before._changes)  # noqa: SLF001 - one of us

    def _concerns(self, window: Window, entity: Entity, rule: str = "") -> bool:
        return window.concerns(entity, rule, self._fleet.places(entity))

    def _age(self, mark: Mark) -> float:
        return abs(self._now - mark.at)  # a clock that was set back must not keep a change for ever

    def _of(self, entity: Entity) -> Iterator[Mark]:
        """Changes that concern an entity, the newest first."""
        return (mark for mark in reversed(self._changes) if _together(mark.entity, entity))


def occurrence(settings: WindowSettings, now: float) -> Window | None:
    """The occurrence that is on at ``now`` (UTC seconds), the one that ends last, else the next one."""
    zone, begins = ZoneInfo(settings.timezone), time.fromisoformat(settings.begins).replace(tzinfo=None)
    today = datetime.fromtimestamp(now, zone).date()
    back = int(settings.lasts // _DAY_SECONDS) + 2
    following = None
    for day in (today + timedelta(days=shift) for shift in range(9, -back, -1)):
        if _WEEKDAYS[day.weekday()] not in settings.days:
            continue
        # fold=0: of a time that comes twice the first; one that is left out becomes one an hour later.
        at = datetime.combine(day, begins, zone).timestamp()
        window = Window("", settings.name, at, at + settings.lasts, tuple(sorted(settings.matches.items())),
                        settings.skip, "configuration")  # fmt: skip
        if window.holds(now):
            return window
        following = window if at > now else following
    return following


def _labels(entity: Entity, name: str, places: Sequence[Place]) -> tuple[str, ...]:
    """Values of a label; those of what a host serves where the thing itself has none."""
    value = entity.label(name)
    if not value and name == "pool" and entity.kind in (EntityKind.REPLICA, EntityKind.TARGET):
        value = pool_of(entity).label("pool")
    served = () if value else tuple(place for level, place in places if level == _LEVELS.get(name))
    return served or (value,)


def _together(changed: Entity, entity: Entity) -> bool:
    """The same thing, or one is the pool of the other."""
    if changed == entity:
        return True
    if EntityKind.POOL not in (changed.kind, entity.kind):
        return False
    pools = [one if one.kind is EntityKind.POOL else pool_of(one) for one in (changed, entity)]
    hardware = {EntityKind.GPU, EntityKind.NODE} & {changed.kind, entity.kind}
    return not hardware and pools[0] == pools[1]
