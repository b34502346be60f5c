"""One batching engine as a birth–death chain: the rate of departures depends on how many share a step.

The closed form beside the twin: right under Poisson arrivals, far too optimistic under bursts (on recorded traffic by
10 to 100 times at rho ≥ 0.75), like every stationary formula.
"""

from dataclasses import dataclass

import numpy as np

from aiops.capacity.curve import StepCurve
from aiops.capacity.queueing import Waiting, birth_death
from aiops.capacity.work import Floats


@dataclass(frozen=True, slots=True)
class BatchState:
    """Stationary state of one engine.

    Attributes
    ----------
    waiting
        Wait for a slot.
    running
        Mean number in the batch; the number of slots at rho ≥ 1.
    step_seconds
        Mean time between tokens of a running request, weighted by requests.
    """

    waiting: Waiting
    running: float
    step_seconds: float


def departures(curve: StepCurve, slots: int, prefill_seconds: float, output_tokens: float) -> Floats:
    """Requests that finish per second with n = 1 … ``slots`` in the batch, float64 [slots].

    mu(n) = n / (prefill + output · T(n)): everybody's tokens come at the pace of the shared step.
    """
    n = np.arange(1, slots + 1, dtype=np.float64)
    answer: Floats = n / (prefill_seconds + output_tokens * curve.table(slots)[1:])
    return answer


def batching_engine(
    arrivals_per_second: float, curve: StepCurve, *, slots: int, prefill_seconds: float, output_tokens: float
) -> BatchState:
    """Poisson arrivals at one engine with ``slots`` ≥ 1 slots and an endless queue.

    Parameters
    ----------
    prefill_seconds
        Time to read the mean prompt, ≥ 0.
    output_tokens
        Mean number of tokens to write, > 0.
    """
    if slots < 1 or not arrivals_per_second >= 0.0 or not prefill_seconds >= 0.0 or not output_tokens > 0.0:
        raise ValueError(
            f"expected slots ≥ 1, arrivals ≥ 0, prefill ≥ 0 and output > 0, got {slots}, {arrivals_per_second}, "
            f"{prefill_seconds} and {output_tokens}"
        )
    rates = departures(curve, slots, prefill_seconds, output_tokens)
    steps = curve.table(slots)[1:]
    rho = arrivals_per_second / float(rates[-1])
    if rho >= 1.0:
        growth = arrivals_per_second - float(rates[-1])
        return BatchState(Waiting.unstable(rho, growth), float(slots), float(steps[-1]))
    # States above `slots` are a geometric tail: its mass goes into the last state, the rest is closed form.
    states = birth_death(np.full(slots, arrivals_per_second), rates)
    states[-1] /= 1.0 - rho
    states /= states.sum()
    busy = float(states[-1])
    n = np.arange(slots + 1)
    running = float(n @ states)
    weighted = float((n[1:] * steps) @ states[1:])
    waiting = Waiting.exponential(rho, busy, float(rates[-1]) - arrivals_per_second)
    return BatchState(waiting, running, weighted / running if running else float(steps[0]))
