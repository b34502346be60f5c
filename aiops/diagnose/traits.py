"""What kind of number a series is: by the catalogue for canonical signals, by the words of its name for all others."""

import re

from aiops.detect.policy import Floor
from aiops.diagnose.deviation import Trait
from aiops.signals.catalog import SIGNALS, Bad, Kind

_TAILS = {"p50": 0.5, "median": 0.5, "p75": 0.25, "p90": 0.1, "p95": 0.05, "p99": 0.01, "p999": 0.001, "max": 0.001}
_TAIL = re.compile(r"(?:^|[^a-z0-9])(" + "|".join(_TAILS) + r")(?![a-z0-9])")
_REQUESTS = ("arrivals", "finished")
_DURATION, _SHARE, _USAGE = 0.1, 0.005, 0.05
"""Least scale as a share of the level: durations, shares of requests, and everything else."""
_WORDS: tuple[tuple[str, Trait], ...] = (
    (r"availab|success|goodput", Trait(Bad.LOW, _SHARE, averaged="share")),
    (r"error|fail|timeout|retr|drop|throttl|5xx|4xx|abort|restart|reject", Trait(Bad.HIGH, _USAGE)),
    (r"latency|duration|response_time|ttft|tpot|elapsed|delay", Trait(Bad.HIGH, _DURATION, averaged="duration")),
    (r"requests?(_|$)|(^|_)(ops|rps|qps|calls|invocations|hits)(_|$)", Trait(Bad.BOTH, _USAGE, traffic=True)),
    (r"cpu|mem|disk|util|percent|usage|temp|queue|waiting|pending|load", Trait(Bad.HIGH, _USAGE)),
)
_UNKNOWN = Trait(Bad.BOTH, _USAGE)


def trait_of(metric: str) -> Trait:
    """Trait of a metric by its name: ``queue_len``, ``ttft:p95``, or somebody else's ``http_latency_p95_ms``.

    A name that says nothing is taken for throughput, which hurts in neither direction.
    """
    name, _, stat = metric.partition(":")
    if name in SIGNALS:
        return canonical(name, stat)
    lower = metric.lower()
    found = next((trait for words, trait in _WORDS if re.search(words, lower)), _UNKNOWN)
    tail = _TAIL.search(lower)
    if found.averaged == "duration" and tail:
        return Trait(found.bad, found.relative, averaged="duration", tail=_TAILS[tail.group(1)])
    return found


def canonical(name: str, stat: str = "", floor: Floor | None = None, far: float = 1.0) -> Trait:
    """Trait of a signal of the catalogue.

    Parameters
    ----------
    floor
        What matters to anybody in the signal's unit: a move of that size then has at most the distance ``far``. It is
        given where references are long.
    """
    signal = SIGNALS[name]
    if floor is not None:
        minimum, relative = floor.minimum / far, max(floor.minimum_relative / far, floor.relative_noise)
    else:
        minimum, relative = 0.0, _DURATION if signal.kind is Kind.DISTRIBUTION else _USAGE
    if stat == "rate" or (signal.kind is Kind.RATE and signal.bad is Bad.BOTH):
        return Trait(Bad.BOTH, relative, minimum, traffic=name in _REQUESTS)
    # A long reference shows by itself how far few requests make a number wander.
    of_requests = floor is None and signal.kind is Kind.DISTRIBUTION and signal.unit == "seconds"
    averaged = "duration" if of_requests else ""
    return Trait(signal.bad, relative, minimum, averaged=averaged, tail=_TAILS.get(stat, 1.0))
