"""Which series of a page carry which signal of which entity: decided once per layout, by names and labels only.

Values play no part here, so the answer holds for as long as the page's series stay the same. Invariants: every
(entity, signal) is bound at most once; a series is never guessed by its declared type (a page may call a maximum
a counter), only by what the profile says; ``_created`` series are never touched.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from aiops.signals.page import Layout, Sample
from aiops.signals.page_index import PageIndex, host_of
from aiops.signals.profile import How, Profile, Reduce, Source, Term
from aiops.signals.types import Entity, EntityKind, Labels

Indices = tuple[int, ...]
_Groups = dict[Labels, list[int]]
_COUNTED = frozenset({How.COUNTER, How.MEAN, How.RATIO})
_NEED_OVER = frozenset({How.MEAN, How.RATIO, How.QUOTIENT, How.DIFFERENCE})


class Status(StrEnum):
    """How well a signal is known on a page."""

    RESOLVED = "resolved"
    DERIVED = "derived"
    MISSING = "missing"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Binding:
    """One signal of one entity, tied to positions in the page's values.

    Attributes
    ----------
    metric
        Exposed name that was found, for people.
    value, over, times
        Positions of the metric itself (the sum of a histogram or summary), of the denominator (the count, what is
        taken away), and of each further factor.
    constant
        Value that stands in labels (``as: info``); NaN otherwise.
    codes
        Number in the label of every one of ``value`` (``as: newest``).
    buckets
        Upper bound in page units → positions of that bucket in every label set; ascending, +Inf last.
    quantiles
        Quantile → positions, of a summary with one series.
    together
        Positions that belong to one histogram instance and so reset together.
    candidates
        Other metrics on the page that could also be meant.
    """

    entity: Entity
    signal: str
    profile: str
    source: Source
    how: How
    reduce: Reduce
    metric: str
    status: Status
    value: Indices = ()
    over: Indices = ()
    times: tuple[Indices, ...] = ()
    constant: float = float("nan")
    codes: tuple[float, ...] = ()
    buckets: tuple[tuple[float, Indices], ...] = ()
    quantiles: tuple[tuple[float, int], ...] = ()
    together: tuple[Indices, ...] = ()
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a page is, and all that could be read from it.

    Attributes
    ----------
    profiles
        Profiles that match, highest priority first; empty for an unknown program.
    version
        As the page tells or hints; empty when it does not.
    version_stated
        The version stands in a label, rather than being judged by which metrics are present.
    pending
        Signals whose metric the program shows only after some event that has not happened yet.
    """

    profiles: tuple[Profile, ...]
    version: str
    version_stated: bool
    bindings: tuple[Binding, ...]
    pending: Mapping[str, Source]

    @property
    def engine(self) -> str:
        """Name of the profile that names the page; empty for an unknown program."""
        return self.profiles[0].name if self.profiles else ""


def resolve(layout: Layout, profiles: Sequence[Profile], target: Labels = ()) -> Resolution:
    """Find the signals of a page.

    Parameters
    ----------
    profiles
        Candidates; those that match the page are used, in order of priority.
    target
        Labels of the scrape target (job, instance, pool, …).
    """
    index = PageIndex(layout)
    found = sorted((p for p in profiles if index.matches(p)), key=lambda p: (-p.priority, p.name))
    bound: dict[tuple[Entity, str], Binding] = {}
    priorities = {profile.name: profile.priority for profile in found}
    pending: dict[str, Source] = {}
    for profile in found:
        for binding in _Matcher(index, profile, dict(target)).bindings(pending):
            key = (binding.entity, binding.signal)
            first = bound.setdefault(key, binding)
            if first is not binding:
                tie = priorities[first.profile] == priorities[binding.profile]
                bound[key] = _also(first, binding.metric, ambiguous=tie)
    have = {signal for _, signal in bound}
    version, stated = index.version(found[0]) if found else ("", False)
    return Resolution(
        tuple(found), version, stated, tuple(bound.values()), {s: p for s, p in pending.items() if s not in have}
    )


def _also(binding: Binding, metric: str, *, ambiguous: bool) -> Binding:
    status = Status.AMBIGUOUS if ambiguous else binding.status
    return replace(binding, status=status, candidates=(*binding.candidates, metric))


@dataclass(frozen=True, slots=True)
class _Found:
    """A source that is on the page: per part, positions by entity labels."""

    source: Source
    how: How
    metric: str
    value: _Groups
    over: _Groups
    times: tuple[_Groups, ...]
    buckets: _Groups
    spellings: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Parts:
    """The same for one entity."""

    value: Indices
    over: Indices
    times: tuple[Indices, ...]
    spread: Indices


class _Matcher:
    """Applies one profile to one page."""

    def __init__(self, index: PageIndex, profile: Profile, target: Mapping[str, str]) -> None:
        self.index = index
        self.profile = profile
        self.target = target
        self.page_labels = {
            name: index.label_value(profile, place.metric, place.label) for name, place in profile.entity.page.items()
        }

    def bindings(self, pending: dict[str, Source]) -> list[Binding]:
        """All signals of this profile; sources that wait for an event go into ``pending``."""
        chosen: dict[str, _Found] = {}
        for signal, sources in self.profile.roles.items():
            found = self._choose(signal, sources)
            if found is not None:
                chosen[signal] = found
            elif waiting := self._waiting(sources):
                pending.setdefault(signal, waiting)
        labelled = {
            key
            for found in chosen.values()
            for group in (found.value, found.buckets)
            for key in group
            if key and not found.source.shared
        }
        return [b for signal, found in chosen.items() for b in self._bind(signal, found, labelled)]

    def _choose(self, signal: str, sources: Sequence[Source]) -> _Found | None:
        """Take the first source that is on the page, and remember which others are."""
        found = [hit for source in sources if (hit := self._find(source, source.arithmetic(signal))) is not None]
        if not found:
            return None
        others = dict.fromkeys(hit.metric for hit in found[1:] if hit.metric != found[0].metric)
        return replace(found[0], others=tuple(others))

    def _waiting(self, sources: Sequence[Source]) -> Source | None:
        for source in sources:
            if source.appears and not any(self.index.has_spelling(self.profile, name) for name in source.unless):
                return source
        return None

    def _find(self, source: Source, how: How) -> _Found | None:
        """Look one source up; None when what it needs is not on the page."""
        if how in (How.HISTOGRAM, How.SUMMARY):
            return self._find_distribution(source, how)
        name, spellings, value = self._term(source, counted=how in _COUNTED)
        for term in source.plus:
            for key, positions in self._term(term, counted=how in _COUNTED)[2].items():
                value.setdefault(key, []).extend(positions)
        if how in (How.INFO, How.NEWEST):
            value = self._numeric(value, source.labels)
        over: _Groups = {}
        for term in (*source.over, *source.minus, *((source.count,) if source.count else ())):
            for key, positions in self._term(term, counted=how not in (How.QUOTIENT, How.DIFFERENCE))[2].items():
                over.setdefault(key, []).extend(positions)
        times = tuple(self._term(term, counted=False)[2] for term in source.times)
        if not value or not all(times) or (how in _NEED_OVER and not over):
            return None
        return _Found(source, how, name, value, over, times, {}, spellings, ())

    def _find_distribution(self, source: Source, how: How) -> _Found | None:
        for name in self.profile.spellings(source.metric):
            spread = name if how is How.SUMMARY else f"{name}_bucket"
            buckets = self._grouped(self._select(spread, source.where))
            sums = self._grouped(self._select(f"{name}_sum", source.where))
            counts = self._grouped(self._select(f"{name}_count", source.where))
            if buckets or (sums and counts):
                return _Found(source, how, name, sums, counts, (), buckets, (name,), ())
        return None

    def _term(self, term: Term, *, counted: bool) -> tuple[str, tuple[str, ...], _Groups]:
        """Find a metric: the name that hit, all spellings that hit, and its series by entity labels."""
        names = list(self.profile.spellings(term.metric))
        if counted:
            bare = [name.removesuffix("_total") for name in names]
            names = [spelling for name in bare for spelling in (f"{name}_total", name)]
        hits = [(name, groups) for name in names if (groups := self._grouped(self._select(name, term.where)))]
        if not hits:
            return "", (), {}
        return hits[0][0], tuple(name for name, _ in hits), hits[0][1]

    def _select(self, name: str, where: Mapping[str, Sequence[str]]) -> list[int]:
        return self.index.without_copies(self.index.select(name, {**self.profile.where, **where}), self.profile.copies)

    def _grouped(self, positions: Iterable[int]) -> _Groups:
        groups: _Groups = {}
        for position in positions:
            groups.setdefault(self._entity_labels(self.index.samples[position]), []).append(position)
        return groups

    def _entity_labels(self, sample: Sample) -> Labels:
        have = dict(sample.labels)
        pairs = (
            (name, next((have[label] for label in labels if have.get(label)), ""))
            for name, labels in self.profile.entity.labels.items()
        )
        return tuple(sorted((name, value) for name, value in pairs if value))

    def _numeric(self, groups: _Groups, labels: Sequence[str]) -> _Groups:
        kept = {key: [p for p in group if self.index.product(p, labels) > 0] for key, group in groups.items()}
        return {key: group for key, group in kept.items() if group}

    def _bind(self, signal: str, found: _Found, labelled: set[Labels]) -> list[Binding]:
        """Make one binding for each entity that has all the parts."""

        def place(groups: _Groups) -> _Groups:
            return _placed(groups, labelled, shared=found.source.shared)

        value, over, spread = place(found.value), place(found.over), place(found.buckets)
        times = tuple(place(groups) for groups in found.times)
        needs_over = found.how in _NEED_OVER
        return [
            self._binding(
                signal,
                found,
                key,
                _Parts(
                    tuple(value.get(key, ())),
                    tuple(over.get(key, ())),
                    tuple(tuple(groups[key]) for groups in times),
                    tuple(spread.get(key, ())),
                ),
            )
            for key in dict.fromkeys((*value, *spread))
            if not (needs_over and key not in over) and all(key in groups for groups in times)
        ]

    def _binding(self, signal: str, found: _Found, key: Labels, parts: _Parts) -> Binding:
        source, how = found.source, found.how
        reduce = source.reduction(signal)
        computed = how in _NEED_OVER or how in (How.PRODUCT, How.INFO, How.NEWEST)
        histogram, summary = how is How.HISTOGRAM, how is How.SUMMARY
        twice = len(found.spellings) > 1
        return Binding(
            entity=self._entity(key),
            signal=signal,
            profile=self.profile.name,
            source=source,
            how=how,
            reduce=reduce,
            metric=found.metric,
            status=Status.AMBIGUOUS if twice else Status.DERIVED if computed else Status.RESOLVED,
            value=parts.value,
            over=parts.over,
            times=parts.times,
            constant=self._constant(parts.value, source, reduce) if how is How.INFO else float("nan"),
            codes=tuple(self.index.number(p, *source.labels) for p in parts.value) if how is How.NEWEST else (),
            buckets=self._buckets(parts.spread, parts.over) if histogram else (),
            quantiles=self._summary_quantiles(parts.spread) if summary else (),
            together=self._instances([*parts.value, *parts.over, *parts.spread]) if histogram else (),
            candidates=(*found.spellings[1:], *found.others),
        )

    def _constant(self, positions: Indices, source: Source, reduce: Reduce) -> float:
        return _REDUCERS[reduce]([self.index.product(p, source.labels) for p in positions])

    def _instances(self, positions: Iterable[int]) -> tuple[Indices, ...]:
        groups: dict[Labels, list[int]] = {}
        for position in dict.fromkeys(positions):
            labels = tuple(pair for pair in self.index.samples[position].labels if pair[0] != "le")
            groups.setdefault(labels, []).append(position)
        return tuple(tuple(group) for group in groups.values())

    def _buckets(self, spread: Sequence[int], counts: Sequence[int]) -> tuple[tuple[float, Indices], ...]:
        """Bounds that every label set has: cumulative buckets may be added only at common bounds."""
        sets: dict[Labels, dict[float, int]] = {}
        for position in spread:
            labels = self.index.samples[position].labels
            rest = tuple(pair for pair in labels if pair[0] != "le")
            bound = self.index.number(position, "le")
            if not math.isnan(bound):  # a bucket whose bound is no number belongs nowhere
                sets.setdefault(rest, {})[bound] = position
        for position in counts:
            # The count is the bucket +Inf, also on pages that leave that bucket out.
            sets.get(self.index.samples[position].labels, {}).setdefault(float("inf"), position)
        if not sets:
            return ()
        common = set.intersection(*(set(bounds) for bounds in sets.values()))
        if float("inf") not in common or len(common) < 2:
            return ()
        return tuple((bound, tuple(bounds[bound] for bounds in sets.values())) for bound in sorted(common))

    def _summary_quantiles(self, positions: Sequence[int]) -> tuple[tuple[float, int], ...]:
        pairs = [(self.index.number(p, "quantile"), p) for p in positions]
        known = sorted((q, p) for q, p in pairs if 0.0 <= q <= 1.0)
        # Ready-made quantiles of several series cannot be merged: leave them out.
        return tuple(known) if len({q for q, _ in known}) == len(known) else ()

    def _entity(self, key: Labels) -> Entity:
        rule = self.profile.entity
        labels = {name: self.target.get(name, "") for name in rule.target_labels}
        labels |= {name: value for name, value in self.page_labels.items() if value}
        labels |= dict(key)
        if rule.kind in (EntityKind.GPU, EntityKind.NODE) and not labels.get("node"):
            labels["node"] = self.target.get("node", "") or host_of(self.target.get("instance", ""))
        return Entity.of(rule.kind, **labels)


_REDUCERS: dict[Reduce, Callable[[Sequence[float]], float]] = {
    Reduce.SUM: sum,
    Reduce.MAX: max,
    Reduce.MIN: min,
    Reduce.MEAN: lambda values: sum(values) / len(values),
    Reduce.FIRST: lambda values: values[0],
}


def _placed(groups: _Groups, labelled: set[Labels], *, shared: bool) -> _Groups:
    """Give series without entity labels an entity: all of the page's when shared, else its only one."""
    bare = groups.get(())
    if not bare or not labelled or (len(labelled) > 1 and not shared):
        return groups
    rest = {key: group for key, group in groups.items() if key}
    return {**dict.fromkeys(sorted(labelled), bare), **rest}
