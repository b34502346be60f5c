"""Closed-form queues: what theory says about waiting when only a few averages are known.

These are the optimistic floor beside the replay (:mod:`aiops.capacity.replay`), and the fast inner step of others.
Notation: ``load`` A = λ·S in Erlang, ``servers`` c, rho = A / c. Every answer is a :class:`Waiting`; at rho ≥ 1 its
wait is NaN and its backlog growth is positive, because an unstable queue has no mean wait, only a time until it hurts.

References: Cooper, Introduction to Queueing Theory (1981); Jagerman, Bell Syst. Tech. J. 53 (1974) for real-valued
servers; Allen, Probability, Statistics and Queueing Theory (1990); Fredericks, Bell Syst. Tech. J. 59 (1980) for
Hayward's equivalence; Halfin and Whitt, Oper. Res. 29 (1981) for square-root staffing.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAN = float("nan")

_STEP = 1.0 / 32.0
_NODES = np.arange(-4.5, 5.5, _STEP)  # double-exponential quadrature of ∫ e^-u g(u) du, u = exp(x - e^-x)
_ABSCISSAS = np.exp(_NODES - np.exp(-_NODES))
_WEIGHTS = _STEP * _ABSCISSAS * (1.0 + np.exp(-_NODES)) * np.exp(-_ABSCISSAS)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Stationary wait of one queue: P(W > t) = ``probability`` · exp(−``decay_per_second`` · t).

    Attributes
    ----------
    rho
        Load per server, ≥ 0.
    probability
        Chance of any wait, 0–1; 1 at rho ≥ 1.
    mean_seconds
        Mean wait over all requests; NaN at rho ≥ 1.
    decay_per_second
        Rate at which the tail falls; 0 at rho ≥ 1.
    backlog_growth_per_second
        Requests by which the queue grows each second; 0 below rho = 1.
    """

    rho: float
    probability: float
    mean_seconds: float
    decay_per_second: float
    backlog_growth_per_second: float = 0.0

    @classmethod
    def exponential(cls, rho: float, probability: float, decay_per_second: float) -> Self:
        """Stable queue whose wait, where there is one, is exponential."""
        return cls(rho, probability, probability / decay_per_second if probability else 0.0, decay_per_second)

    @classmethod
    def unstable(cls, rho: float, growth_per_second: float) -> Self:
        """Queue that gets more work than it can do."""
        return cls(rho, 1.0, NAN, 0.0, growth_per_second)

    def tail(self, seconds: float) -> float:
        """P(wait > seconds); NaN at rho ≥ 1, where it depends on how long the overload has lasted."""
        if self.rho >= 1.0:
            return NAN
        if not self.probability:
            return 0.0
        return self.probability * math.exp(-self.decay_per_second * seconds)

    def quantile(self, share: float) -> float:
        """Wait in seconds that ``share`` (0 ≤ share < 1) of the requests do not exceed; NaN at rho ≥ 1."""
        if not 0.0 <= share < 1.0:
            raise ValueError(f"expected 0 ≤ share < 1, got {share}")
        if self.rho >= 1.0:
            return NAN
        if self.probability <= 1.0 - share:
            return 0.0
        return math.log(self.probability / (1.0 - share)) / self.decay_per_second


def erlang_b(servers: float, load: float) -> float:
    """Blocking probability of M/G/c/c, for real-valued ``servers`` ≥ 0.

    Starts at the fractional part with 1/B = ∫ e^-u (1 + u/A)^c du and climbs by B(c) = A·B(c−1) / (c + A·B(c−1)),
    which loses no digits and cannot overflow; costs one step per server.
    """
    _check(servers, load)
    if load == 0.0:
        return 1.0 if servers == 0.0 else 0.0
    below = math.floor(servers)
    fraction = servers - below
    blocking = 1.0 if fraction == 0.0 else 1.0 / float(_WEIGHTS @ (1.0 + _ABSCISSAS / load) ** fraction)
    for count in range(1, below + 1):
        offered = load * blocking
        blocking = offered / (count + fraction + offered)
    return blocking


def erlang_c(servers: float, load: float) -> float:
    """Probability that a request waits in M/M/c, for real-valued ``servers``; 1 at load ≥ servers."""
    _check(servers, load)
    if load >= servers:
        return 1.0
    blocking = erlang_b(servers, load)
    return blocking / (1.0 - load / servers * (1.0 - blocking))


def mmc(servers: float, arrivals_per_second: float, service_seconds: float) -> Waiting:
    """M/M/c: Poisson arrivals, exponential service. On bursty traffic it is an optimistic floor, often by far."""
    return gg_c(servers, arrivals_per_second, service_seconds, arrival_cv2=1.0, service_cv2=1.0)


def gg_c(
    servers: float, arrivals_per_second: float, service_seconds: float, *, arrival_cv2: float, service_cv2: float
) -> Waiting:
    """G/G/c after Allen and Cunneen: the wait of M/M/c times (ca² + cs²) / 2.

    Parameters
    ----------
    arrival_cv2, service_cv2
        Squared coefficients of variation, ≥ 0, of the gaps between arrivals and of the service. Gaps forget how
        bursts follow each other, which is why this can miss real traffic by orders of magnitude with many servers.
    """
    load = _load(servers, arrivals_per_second, service_seconds)
    rho = load / servers
    if rho >= 1.0:
        return Waiting.unstable(rho, arrivals_per_second - servers / service_seconds)
    factor = (arrival_cv2 + service_cv2) / 2.0
    if not 0.0 <= factor < math.inf:
        raise ValueError(f"expected squared variations ≥ 0, got {arrival_cv2} and {service_cv2}")
    if load == 0.0 or factor == 0.0:
        return Waiting(rho, 0.0, 0.0, math.inf)
    return Waiting.exponential(rho, erlang_c(servers, load), (servers - load) / service_seconds / factor)


def hayward(servers: float, arrivals_per_second: float, service_seconds: float, *, peakedness: float) -> Waiting:
    """Erlang C at (c / z, A / z).

    Parameters
    ----------
    peakedness
        z > 0: variance over mean of the number in flight if there were servers for all; 1 = Poisson.
    """
    load = _load(servers, arrivals_per_second, service_seconds)
    if not 0.0 < peakedness < math.inf:
        raise ValueError(f"expected peakedness > 0, got {peakedness}")
    rho = load / servers
    if rho >= 1.0:
        return Waiting.unstable(rho, arrivals_per_second - servers / service_seconds)
    if load == 0.0:
        return Waiting(rho, 0.0, 0.0, math.inf)
    waits = erlang_c(servers / peakedness, load / peakedness)
    return Waiting.exponential(rho, waits, (servers - load) / service_seconds / peakedness)


def square_root_servers(load: float, beta: float, *, peakedness: float = 1.0) -> int:
    """Square-root staffing: the least whole c ≥ A + β·√(z·A), and at least 1."""
    _check(1.0, load)
    return max(1, math.ceil(load + beta * math.sqrt(peakedness * load)))


def square_root_beta(wait_probability: float) -> float:
    """β that gives P(wait > 0) = ``wait_probability`` (0 < p < 1) in the limit of many servers.

    Inverts 1 / (1 + β·Φ(β)/φ(β)) by bisection; absolute error below 1e-9.
    """
    if not 0.0 < wait_probability < 1.0:
        raise ValueError(f"expected 0 < probability < 1, got {wait_probability}")
    low, high = 0.0, 40.0
    while high - low > 1e-10:
        beta = (low + high) / 2.0
        log_ratio = math.log(beta) + math.log(_normal_below(beta)) + beta * beta / 2.0 + math.log(2.0 * math.pi) / 2.0
        if 1.0 / (1.0 + math.exp(log_ratio) if log_ratio < 700.0 else math.inf) > wait_probability:
            low = beta
        else:
            high = beta
    return (low + high) / 2.0


def birth_death(births: Floats, deaths: Floats) -> Floats:
    """Stationary probabilities of a birth–death chain.

    Parameters
    ----------
    births, deaths
        float64 [k] per second: from state i to i + 1 (≥ 0), and from i + 1 back to i (> 0).

    Returns
    -------
    float64 [k + 1], sums to 1; computed in logarithms, so that thousands of states neither over- nor underflow.
    """
    with np.errstate(divide="ignore"):
        logs = np.concatenate([[0.0], np.cumsum(np.log(births) - np.log(deaths))])
    weights = np.exp(logs - logs.max())
    answer: Floats = weights / weights.sum()
    return answer


def _load(servers: float, arrivals_per_second: float, service_seconds: float) -> float:
    if not 0.0 < service_seconds < math.inf:
        raise ValueError(f"expected service_seconds > 0, got {service_seconds}")
    if not 0.0 < servers < math.inf:
        raise ValueError(f"expected servers > 0, got {servers}")
    load = arrivals_per_second * service_seconds
    _check(servers, load)
    return load


def _check(servers: float, load: float) -> None:
    if not 0.0 <= load < math.inf:
        raise ValueError(f"expected a load ≥ 0 Erlang, got {load}")
    if not 0.0 <= servers < math.inf:
        raise ValueError(f"expected servers ≥ 0, got {servers}")


def _normal_below(x: float) -> float:
    return math.erfc(-x / math.sqrt(2.0)) / 2.0
