"""Which metrics the profiles read: what to ask for where one has to ask for each.

A superset of what :func:`aiops.signals.resolve.resolve` looks at, family by family, and of what tells a program from
another; a page that holds only these resolves as the whole page does.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from aiops.signals.page import Layout, MetricType, Sample
from aiops.signals.page_index import PageIndex
from aiops.signals.profile import Profile, Source

SUFFIXES = ("", "_total", "_bucket", "_sum", "_count", "_info")


def wanted(profiles: Iterable[Profile], names: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """Choose what to read of every job.

    Parameters
    ----------
    names
        Job → exposed names of its metrics. A job may hold several programs.

    Returns
    -------
    dict
        Job → those of its names that a profile reads; a job without a program that a profile knows is left out.
    """
    reads = [(profile, exposed_names(profile)) for profile in profiles]
    chosen: dict[str, frozenset[str]] = {}
    for job, have in names.items():
        index = PageIndex(Layout(tuple(Sample(name, (), MetricType.UNKNOWN) for name in have)))
        used = [known.intersection(have) for profile, known in reads if index.may_hold(profile)]
        if used:
            chosen[job] = frozenset().union(*used)
    return chosen


def exposed_names(profile: Profile) -> frozenset[str]:
    """Names, as pages expose them, of every family that a profile reads."""
    bare = {spelling.removesuffix("_total") for metric in _metrics(profile) for spelling in profile.spellings(metric)}
    # Both are real names: a histogram may be called iteration_tokens_total.
    return frozenset(name + total + suffix for name in bare for total in ("", "_total") for suffix in SUFFIXES)


def _metrics(profile: Profile) -> Iterator[str]:
    detect = profile.detect
    yield from (*detect.any, *detect.all, *(name for name in detect.none if not name.endswith("*")))
    yield from (place.metric for place in (*profile.version.labels, *profile.entity.page.values()))
    yield from (hint.metric for hint in profile.version.hints)
    for sources in profile.roles.values():
        for source in sources:
            yield from _of_source(source)


def _of_source(source: Source) -> Iterator[str]:
    yield source.metric
    yield from (term.metric for term in (*source.plus, *source.over, *source.times))
    if source.count is not None:
        yield source.count.metric
    yield from source.unless
