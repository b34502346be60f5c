"""Queries of one engine's panels: the arithmetic of the rule pack, with the variables of a board in every selector.

A query covers every version that the profile knows: names that a version lacks find nothing, and ``or`` takes the
next. Averages and quantiles are over the chosen replicas together, from their added buckets; never means of means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from aiops.render.grafana import RATE
from aiops.render.rules_pack import Labels, Record
from aiops.render.rules_promql import Writer, first, inside, quoted, together
from aiops.signals.catalog import SIGNALS, Kind
from aiops.signals.profile import Family, How, Profile, Reduce, Source, Term

_RENAME = {"gpu": "uuid", "node": "Hostname", "mig": "GPU_I_ID"}
_LABELS = Labels(
    replica=("job", "instance"), model=("job",), gpu=("job", "instance", "Hostname", "gpu"), rename=_RENAME
)  # fmt: skip
_EITHER = ("sglang:*", "gpu_total_*")
"""Patterns of counters that some versions write with ``_total`` and some without."""
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def model_label(profile: Profile) -> str:
    """Page label that names the model; empty where there is none, or where it has several names."""
    names = profile.entity.labels.get("model_name", ())
    return names[0] if len(names) == 1 else ""


def presence(profile: Profile) -> str:
    """Selector of series that every instance of the program has, in all spellings and versions."""
    candidates = ("running", "gpu_util", "gpu_temp", "e2e", "finished", "arrivals")
    signal = next(name for name in candidates if name in profile.roles)
    names: dict[str, None] = {}
    for source in profile.roles[signal]:
        for name in profile.spellings(source.metric):
            bare = source.arithmetic(signal) is How.GAUGE or name.endswith(("_count", "_sum"))
            names[name if bare else f"{name}(_bucket|_total)?"] = None
    return f"{{__name__=~{quoted('|'.join(names))}}}"


@dataclass(frozen=True, slots=True)
class Query(Writer):
    """Writes the queries of one profile. Every method gives None where the profile has no source that PromQL can
    follow, so that the board has no panel that stays empty."""

    @classmethod
    def of(cls, profile: Profile, bare_counters: Sequence[str]) -> "Query":
        """``bare_counters`` are patterns of counters that are exposed without ``_total``."""
        where = {"job": ("~$job",), "instance": ("~$instance",), **profile.where}
        if label := model_label(profile):
            where[label] = ("~$model",)
        return cls(profile.model_copy(update={"where": where}), _LABELS, tuple(bare_counters))

    def value(self, signal: str) -> str | None:
        """A plain signal, one series for each replica or GPU; a distribution gives its mean."""
        if SIGNALS[signal].kind is Kind.DISTRIBUTION:
            return self.mean(signal, self.entity_labels)
        record = Record(record="panel:value:now", signals=(signal,)).model_copy(update={"window": RATE})
        found = [self._value(source, signal, record) for source in self.profile.roles.get(signal, ())]
        return first([expr for expr in found if expr]) or None

    def mean(self, signal: str, labels: tuple[str, ...] | None = None) -> str | None:
        """Mean of a distribution over the chosen replicas, or for each of ``labels``."""
        found = [self._mean(source, signal, labels) for source in self.profile.roles.get(signal, ())]
        return first([expr for expr in found if expr]) or None

    def quantile(self, signal: str, stat: str) -> str | None:
        """A quantile (``p50``, ``p95``, ``p99``) of a distribution over the chosen replicas."""
        found = [self._quantile(source, signal, stat) for source in self.profile.roles.get(signal, ())]
        return first([expr for expr in found if expr]) or None

    @property
    def merged_labels(self) -> tuple[str, ...]:
        """What is left when the chosen replicas are added up."""
        return tuple(label for label in self.model_labels if label != "pool")

    def _counted(
        self, source: Term, inner: str, reduce: Reduce = Reduce.SUM, labels: tuple[str, ...] | None = None
    ) -> str:
        written = Writer._counted  # noqa: SLF001 - super() finds no class in a dataclass with slots
        found = written(self, source, inner, reduce, labels)
        if any(fnmatchcase(source.metric, pattern) for pattern in _EITHER):
            bare = replace(self, bare=_EITHER)
            found = first([found, written(bare, source, inner, reduce, labels)])
        return found

    def _value(self, source: Source, signal: str, record: Record) -> str | None:
        how = source.arithmetic(signal)
        if how in (How.RATIO, How.QUOTIENT):
            gained = how is How.RATIO
            inner = f"rate({{}}[{RATE}])" if gained else "{}"
            counted = [
                self._term(term, inner, Reduce.SUM, suffix=self._suffix(term) if gained else "") for term in source.over
            ]
            above = self._counted(source, inner) if gained else self._summed(source, inner, Reduce.SUM)
            return _scale(f"{inside(above)} / {inside(together(counted, self.entity_labels))}", source)
        if how is How.CHANGES:
            return self._term(source, f"changes({{}}[{RATE}])", Reduce.MAX)
        found = self._source(source.model_copy(update={"scale": 1.0, "offset": 0.0}), signal, record)
        return _scale(found, source) if found else None

    def _mean(self, source: Source, signal: str, labels: tuple[str, ...] | None) -> str | None:
        how, kept = source.arithmetic(signal), self.merged_labels if labels is None else labels
        inner = f"rate({{}}[{RATE}])"
        if how is How.GAUGE:
            return _scale(self._term(source, "{}", Reduce.MEAN, labels=kept), source)
        if how is How.MEAN and source.count is not None:
            above, below = (self._counted(term, inner, labels=kept) for term in (source, source.count))
        else:
            above, below = (self._term(source, inner, suffix=suffix, labels=kept) for suffix in ("_sum", "_count"))
        return _scale(f"{inside(above)} / {inside(below)}", source)

    def _quantile(self, source: Source, signal: str, stat: str) -> str | None:
        how = source.arithmetic(signal)
        if how is How.SUMMARY:  # quantiles of replicas cannot be merged: the worst one speaks
            at = f'quantile="{_QUANTILES[stat]:g}"'
            return _scale(self._term(source, "{}", Reduce.MAX, labels=self.merged_labels, extra=(at,)), source)
        if how is not How.HISTOGRAM:
            return None
        labels = (*self.merged_labels, "le")
        buckets = self._term(source, f"rate({{}}[{RATE}])", suffix="_bucket", labels=labels)
        alternatives = [f"histogram_quantile({_QUANTILES[stat]:g}, {part})" for part in buckets.split("\nor\n")]
        return first([_scale(part, source) for part in alternatives])

    @property
    def legend(self) -> str:
        """Labels that tell replicas or GPUs apart."""
        own = [self.labels.rename.get(label, label) for label in self.profile.entity.labels]
        if self.profile.family is Family.GPU:
            own = ["Hostname", "gpu", "GPU_I_ID"] if "node" in self.profile.entity.labels else ["instance", "uuid"]
            return " ".join(f"{{{{{label}}}}}" for label in own)
        return " ".join(f"{{{{{label}}}}}" for label in ("instance", *own))


def _scale(expr: str, source: Source) -> str:
    if source.scale != 1:
        expr = f"{inside(expr)} * {source.scale:.12g}"
    return f"{source.offset:.12g} + {inside(expr)}" if source.offset else expr
