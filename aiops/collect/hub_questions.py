"""What to ask a Prometheus continuously: few queries, each over metrics that the profiles read, none too large.

Pure. Sizes come from a count that the server made: metrics are packed until a query would give ``most_series``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

NAMES_LENGTH = 3000
"""Longest text of names in one query: proxies refuse URLs of more than 8 KiB."""
JOBS_LENGTH = 1000
INSTANCES_LENGTH = 2000
"""Longest text of instances in one query, as it stands in the URL, where a dot of an address is seven bytes."""


@dataclass(frozen=True, slots=True)
class Questions:
    """The plan of one server.

    Attributes
    ----------
    up
        Selector of the health of all targets that may be ours.
    pages
        Selectors of their metrics.
    left_out
        Metrics that alone have more series than one query may give.
    """

    up: str = ""
    pages: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def selector(names: Sequence[str], matchers: str, jobs: Sequence[str] | None = None) -> str:
    """Write a selector of metrics, of some jobs only where they are given."""
    parts = [f"__name__=~{_any_of(names)}"]
    if jobs is not None:
        parts.append(f"job=~{_any_of(jobs)}")
    inner = matchers.strip()[1:-1].strip().rstrip(",")
    return "{" + ",".join([*parts, *([inner] if inner else [])]) + "}"


def narrowed(braces: str, instances: Iterable[str]) -> Iterator[str]:
    """Matchers in braces, again for some instances only: in as many parts as fit into URLs."""
    inner = braces.strip()[1:-1].strip().rstrip(",")
    lengths = {one: len(quote(_any_of((one,)), safe="")) for one in instances}
    for part in packed(lengths, INSTANCES_LENGTH):
        yield "{" + ",".join([*([inner] if inner else []), f"instance=~{_any_of(part)}"]) + "}"


def counts(names: Iterable[str], matchers: str) -> Iterator[str]:
    """Queries for the number of series of each metric and job."""
    for part in packed(dict.fromkeys(names, 0), 1):
        yield f"count by (__name__, job) ({selector(part, matchers)})"


def questions(wanted: Mapping[str, Iterable[str]], sizes: Mapping[tuple[str, str], int], matchers: str,
              most_series: int) -> Questions:  # fmt: skip
    """Plan what to ask.

    Parameters
    ----------
    wanted
        Job → metrics to read of it.
    sizes
        (job, metric) → series.
    matchers
        The user's, in braces.
    """
    if not wanted:
        return Questions()
    # Without the jobs the answers hold more, but a long list of them would hold more still.
    jobs = sorted(wanted) if len(_any_of(tuple(wanted))) <= JOBS_LENGTH else None
    names = sorted({name for of_job in wanted.values() for name in of_job})
    totals = dict.fromkeys(names, 0)
    for (job, name), size in sizes.items():
        if name in totals and (jobs is None or job in wanted):
            totals[name] += size
    large = [name for name, total in totals.items() if total > most_series]
    fitting = {name: total for name, total in totals.items() if total <= most_series}
    return Questions(
        selector(("up",), matchers, jobs),
        tuple(selector(part, matchers, jobs) for part in packed(fitting, most_series)),
        tuple(f"{name} has {totals[name]} series, more than max_series; narrow the selector" for name in large),
    )


def packed(sizes: Mapping[str, int], most_series: int) -> Iterator[tuple[str, ...]]:
    """Cut names into parts of which none is too long or has too many series."""
    part: list[str] = []
    length = series = 0
    for name, size in sizes.items():
        if part and (length + len(name) + 1 > NAMES_LENGTH or series + size > most_series):
            yield tuple(part)
            part, length, series = [], 0, 0
        part.append(name)
        length += len(name) + 1
        series += size
    if part:
        yield tuple(part)


def _any_of(texts: Sequence[str]) -> str:
    """A quoted expression of PromQL that matches each of the texts."""
    return json.dumps("|".join(re.escape(text) for text in texts), ensure_ascii=False)
