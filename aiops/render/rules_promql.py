"""From a source of an engine profile to PromQL: the same arithmetic as ``signals.normalise``, in Prometheus' words.

Every version of an engine that the profile knows is covered by one expression: the names that a version does not have
find nothing, and ``or`` takes the next. Invariant: an expression yields at most one series per entity, and nothing
(never 0) where nothing is known.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from aiops.render.rules_pack import Labels, Record, Stat
from aiops.signals.catalog import SIGNALS, Kind
from aiops.signals.profile import Family, How, Profile, Reduce, Source, Term, Where

_AGGREGATE = {Reduce.SUM: "sum", Reduce.MAX: "max", Reduce.MIN: "min", Reduce.MEAN: "avg", Reduce.FIRST: "max"}


def quoted(text: str) -> str:
    """A string literal of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def matchers(where: Where) -> list[str]:
    """Label matchers that accept what a profile's ``where`` accepts; a missing label is the empty string in both."""
    found = []
    for label, values in where.items():
        plain = [value for value in values if not value.startswith("!")]
        if len(plain) == 1 and not plain[0].startswith("~"):
            found.append(f"{label}={quoted(plain[0])}")
        elif plain:
            parts = [value[1:] if value.startswith("~") else re.escape(value) for value in plain]
            found.append(f"{label}=~{quoted('|'.join(parts))}")
        for value in values:
            if value.startswith("!~"):
                found.append(f"{label}!~{quoted(value[2:])}")
            elif value.startswith("!"):
                found.append(f"{label}!={quoted(value[1:])}")
    return found


def at_most(limit: float) -> str:
    """Regular expression of the decimal numbers from 0 to ``limit``, as they stand in the label ``le``.

    Buckets are cumulative, so the largest count among all bounds up to the limit is the count at the largest of them.
    That finds the right bucket whatever bounds an engine has, and however it writes them (``1`` or ``1.0``).

    Examples
    --------
    >>> import re
    >>> [le for le in ("0.5", "2", "2.0", "2.5", "2.50", "2.51", "3", "10", "+Inf") if re.fullmatch(at_most(2.5), le)]
    ['0.5', '2', '2.0', '2.5', '2.50']
    """
    whole, _, fraction = f"{limit:.9f}".rstrip("0").partition(".")
    smaller = ["[0-9]" * length for length in range(1, len(whole))]
    for at, digit in enumerate(whole):
        lowest = 1 if at == 0 and len(whole) > 1 else 0
        if int(digit) > lowest:
            smaller.append(f"{whole[:at]}{_digits(lowest, int(digit) - 1)}" + "[0-9]" * (len(whole) - at - 1))
    tails = [f"{fraction}0*" if fraction else "0+"]
    for at, digit in enumerate(fraction):
        if digit != "0":
            tails.append(f"{fraction[:at]}{_digits(0, int(digit) - 1)}[0-9]*")
        if at:
            tails.append(fraction[:at])
    parts = [f"({'|'.join(smaller)})([.][0-9]+)?"] if smaller else []
    return "|".join([*parts, f"{whole}([.]({'|'.join(tails)}))?", "[0-9.]+e-[0-9]+"])


def _digits(low: int, high: int) -> str:
    return str(low) if low == high else f"[{low}-{high}]"


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes expressions for one profile, in one spelling of its names.

    ``bare`` are patterns of counters without ``_total``. ``prefix`` replaces an aliased prefix of the profile (engines
    inside Ray); without it all spellings are tried one after the other.
    """

    profile: Profile
    labels: Labels
    bare: tuple[str, ...]
    prefix: str = ""

    @property
    def entity_labels(self) -> tuple[str, ...]:
        """Labels of one replica or GPU."""
        given = self.labels.gpu if self.profile.family is Family.GPU else self.labels.replica
        return tuple(dict.fromkeys((*given, *self._own_labels())))

    @property
    def model_labels(self) -> tuple[str, ...]:
        """Labels of a service: what is left when replicas are added up."""
        return tuple(dict.fromkeys((*self.labels.model, *self._own_labels())))

    def _own_labels(self) -> tuple[str, ...]:
        targets = [label for label in self.profile.entity.target_labels if label not in ("job", "instance")]
        return (*targets, *(self.labels.rename.get(label, label) for label in self.profile.entity.labels))

    # Records --------------------------------------------------------------------------------------------------

    def record(self, record: Record) -> str | None:
        """Expression of a record; None where the profile has no source that PromQL can follow."""
        parts = [part for signal in record.signals if (part := self._signal(signal, record))]
        return together(parts, self.entity_labels) if parts else None

    def _signal(self, signal: str, record: Record) -> str | None:
        sources = self.profile.roles.get(signal, ())[: 1 if record.best_only else None]
        found = [self._source(source, signal, record) for source in sources]
        return first([expr for expr in found if expr]) or None

    def _source(self, source: Source, signal: str, record: Record) -> str | None:
        how, reduce = source.arithmetic(signal), source.reduction(signal)
        if SIGNALS[signal].kind is Kind.DISTRIBUTION and (how is not How.GAUGE or record.stat is Stat.VALUE):
            found = self._distribution(source, how, record)
        elif how is How.PRODUCT:
            found = " * ".join(inside(self._term(term, "{}", reduce)) for term in (source, *source.times))
        elif how is How.DIFFERENCE:
            less = " - ".join(inside(self._term(term, "{}", reduce)) for term in (source, *source.minus))
            found = f"clamp_min({less}, 0)"
        elif how is How.COUNT:
            found = self._term(source, "{}", reduce, aggregate="count")
        elif how is How.GAUGE:
            found = self._summed(source, f"avg_over_time({{}}[{record.window}])" if record.average else "{}", reduce)
        elif how is How.COUNTER:
            found = self._counted(source, _over(record), reduce)
        else:
            found = None
        if found and source.shared:
            found = f"{found}\nand on (job, instance)\n{self._presence()}"
        return _scaled(found, source) if found else None

    def _distribution(self, source: Source, how: How, record: Record) -> str | None:
        inner = _over(record)
        if how is How.MEAN and source.count is not None:
            total, count = self._counted(source, inner), self._counted(source.count, inner)
        elif how in (How.HISTOGRAM, How.SUMMARY):
            total, count = (self._term(source, inner, suffix=suffix) for suffix in ("_sum", "_count"))
        else:
            return None  # a gauge shows a mean, not how many there were
        # Nothing observed is 0/0, which is no number and no alert.
        return f"{inside(total)} / {inside(count)}" if record.stat is Stat.MEAN else count

    def _presence(self) -> str:
        """Targets whose page shows the engine: what a whole process shares stands on other pages too."""
        if "running" not in self.profile.roles:
            raise ValueError(f"{self.profile.name}: a shared source needs 'running' to tell on whose page it is")
        return self._term(self.profile.roles["running"][0], "{}", labels=("job", "instance"), aggregate="group")

    # Objectives -----------------------------------------------------------------------------------------------

    def histograms(self, signal: str) -> tuple[Source, ...]:
        """Sources of a distribution that have buckets."""
        return tuple(s for s in self.profile.roles.get(signal, ()) if s.arithmetic(signal) is How.HISTOGRAM)

    def observed(self, source: Source, window: str) -> str:
        """Rate of all observations of a histogram, per model."""
        return self._term(source, f"rate({{}}[{window}])", suffix="_count", labels=self.model_labels)

    def within(self, source: Source, limit_seconds: float, window: str) -> str:
        """Rate of observations up to a limit, per model; nothing where no bucket is that small."""
        labels = self.model_labels
        buckets = self._term(
            source,
            f"rate({{}}[{window}])",
            suffix="_bucket",
            labels=(*labels, "le"),
            extra=(f"le=~{quoted(at_most(limit_seconds / source.scale))}",),
        )
        return f"max by ({', '.join(labels)}) ({_indented(buckets)})"

    def model_rate(self, signals: Sequence[str], window: str) -> str | None:
        """Rate of what the signals count, added up per model."""
        inner, parts = f"rate({{}}[{window}])", []
        for signal in signals:
            sources = [s for s in self.profile.roles.get(signal, ()) if s.arithmetic(signal) is How.COUNTER]
            if sources:
                parts.append(first([self._counted(source, inner, labels=self.model_labels) for source in sources]))
        return together(parts, self.model_labels) if parts else None

    # Terms ----------------------------------------------------------------------------------------------------

    def _summed(self, source: Source, inner: str, reduce: Reduce) -> str:
        terms = [self._term(term, inner, reduce) for term in (source, *source.plus)]
        return together(terms, self.entity_labels, reduce)

    def _counted(
        self, source: Term, inner: str, reduce: Reduce = Reduce.SUM, labels: tuple[str, ...] | None = None
    ) -> str:
        terms = (source, *(source.plus if isinstance(source, Source) else ()))
        found = [self._term(term, inner, reduce, suffix=self._suffix(term), labels=labels) for term in terms]
        return together(found, labels or self.entity_labels, reduce)

    def _suffix(self, counter: Term) -> str:
        name = counter.metric
        known = name.endswith(("_total", "_sum", "_count")) or any(fnmatchcase(name, bare) for bare in self.bare)
        return "" if known else "_total"

    def _names(self, metric: str) -> tuple[str, ...]:
        names = self.profile.spellings(metric)
        if self.prefix:
            return tuple(name for name in names if name.startswith(self.prefix)) or names
        return names

    def _term(
        self,
        term: Term,
        inner: str,
        reduce: Reduce = Reduce.SUM,
        *,
        suffix: str = "",
        aggregate: str = "",
        labels: tuple[str, ...] | None = None,
        extra: tuple[str, ...] = (),
    ) -> str:
        """One metric, aggregated; ``inner`` is what is done to each series, with ``{}`` for the selector."""
        where = ", ".join([*matchers({**self.profile.where, **term.where}), *extra])
        if self.profile.family is Family.GPU:
            reduce = Reduce.MAX  # one number a GPU; whatever else there is are copies
        found = []
        for name in self._names(term.metric):
            vector = inner.format(f"{name}{suffix}{{{where}}}" if where else f"{name}{suffix}")
            if self.profile.copies and reduce is not Reduce.MAX and not aggregate:
                # Copies that count the same requests must not be added up.
                vector = f"max without ({', '.join(self.profile.copies)}) ({vector})"
            kept = labels or self.entity_labels
            found.append(f"{aggregate or _AGGREGATE[reduce]} by ({', '.join(kept)}) ({self._renamed(vector, kept)})")
        return first(found)

    def _renamed(self, vector: str, kept: tuple[str, ...]) -> str:
        for label, given in self.profile.entity.labels.items():
            name = self.labels.rename.get(label, label)
            for other in reversed(given):  # the last to be written wins, and that is the first of the list
                if name in kept and other != name:
                    vector = f'label_replace({vector}, "{name}", "$1", "{other}", "(.+)")'
        return vector


def _over(record: Record) -> str:
    return "{}" if record.as_is else f"rate({{}}[{record.window}])"


def first(alternatives: Sequence[str]) -> str:
    """The first of several expressions that finds something, entity by entity."""
    return "\nor\n".join(dict.fromkeys(alternatives))


def together(terms: Sequence[str], labels: Sequence[str], reduce: Reduce = Reduce.SUM) -> str:
    """Several expressions in one, of which any may find nothing, though not all.

    They have the same labels, so ``or`` would take one of them; a label of their own keeps them apart.
    """
    if len(terms) == 1:
        return terms[0]
    parts = [
        terms[0],
        *(f'label_replace({_indented(term)}, "part", "{n}", "", "")' for n, term in enumerate(terms[1:], 1)),
    ]
    aggregate = _AGGREGATE[reduce] if reduce is Reduce.MAX else "sum"
    return f"{aggregate} by ({', '.join(labels)}) ({_indented(first(parts))})"


def inside(expr: str) -> str:
    """The expression so that an operator may stand beside it."""
    return f"({_indented(expr)})" if "\n" in expr or re.search(r" [*/+-] ", expr) else expr


def _indented(expr: str) -> str:
    if "\n" not in expr:
        return expr
    return "\n" + "\n".join(f"  {line}" for line in expr.splitlines()) + "\n"


def _scaled(expr: str, source: Source) -> str:
    if source.scale != 1:
        expr = f"{inside(expr)} * {source.scale:g}"
    return f"{source.offset:g} + {inside(expr)}" if source.offset else expr
