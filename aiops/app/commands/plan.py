"""``aiops plan``: how many servers a recorded load needs, without a daemon."""

import math
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiops.app.output import Column, CommandFailedError, Exit, say, show
from aiops.app.progress import Progress

if TYPE_CHECKING:
    from aiops.capacity.models import Estimate
    from aiops.capacity.plan import Plan
    from aiops.capacity.replay import Pool, Requests
    from aiops.capacity.trace_file import Trace
    from aiops.capacity.twin import EngineProfile

_COLUMNS = [Column("SERVERS"), Column("MODEL"), Column("RHO"), Column("WAIT MEAN"), Column("WAIT P95"),
            Column("P(WAIT>SLO)"), Column("BACKLOG/S")]  # fmt: skip
_PROFILE_NEEDS = "step_seconds, prefill_seconds_per_token and slots"


def plan(args: Namespace) -> int:
    """``aiops plan``."""
    from aiops.capacity.plan import Goal  # noqa: PLC0415 - numpy is not for those who only misspell a flag
    from aiops.capacity.plan import plan as judge  # noqa: PLC0415 - as above

    requests, pool = _load(read_trace(args.trace), args.trace, read_profile(args.profile))
    if not requests.service_seconds.sum():
        raise CommandFailedError(f"{args.trace}: all requests together bring no work; expected some")
    servers = sorted(set(args.servers))
    with Progress("judging servers") as progress:
        made = judge(
            requests,
            servers,
            Goal(args.wait_slo, args.target),
            pool=pool,
            step_seconds=args.scrape_interval,
            seed=args.seed,
            told=progress.to,
        )
    show(to_dict(made), _COLUMNS, rows(made), output=args.output, headers=args.headers)
    number = "none" if made.recommended_servers is None else str(made.recommended_servers)
    say(f"{'abstained' if made.abstained else f'recommended servers: {number}'}: {made.reason}")
    return Exit.OK


def read_trace(place: Path) -> "Trace":
    """Read a trace file.

    Raises
    ------
    CommandFailedError
        It cannot be read, or is no trace; names file and line.
    """
    from aiops.capacity.trace_file import TraceError, parse_trace  # noqa: PLC0415 - as in `plan`

    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            return parse_trace(file, str(place))
    except TraceError as error:
        raise CommandFailedError(str(error)) from None
    except UnicodeDecodeError as error:
        raise CommandFailedError(f"{place}: byte {error.start} is no UTF-8; expected a CSV file") from None
    except OSError as error:
        raise CommandFailedError(f"cannot read {place}: {error.strerror}") from None


def read_profile(place: Path | None) -> "EngineProfile | None":
    """Read what an engine can do from YAML or JSON; None without a file.

    ``step_seconds`` is T(n): a list of [requests in the batch, seconds] pairs; with ``prefill_seconds_per_token``,
    ``slots``, and optionally ``chunk_tokens`` and ``kv_tokens``.
    """
    if place is None:
        return None
    import yaml  # noqa: PLC0415 - only traces of tokens need it

    try:
        data = yaml.safe_load(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandFailedError(f"cannot read {place}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise CommandFailedError(f"{place}: expected a mapping with {_PROFILE_NEEDS}")
    return _profile(data, place)


def _profile(data: dict[str, Any], place: Path) -> "EngineProfile":
    import numpy as np  # noqa: PLC0415 - as in `plan`

    from aiops.capacity.curve import StepCurve  # noqa: PLC0415 - as in `plan`
    from aiops.capacity.twin import EngineProfile  # noqa: PLC0415 - as in `plan`

    known = {"step_seconds", "prefill_seconds_per_token", "slots", "chunk_tokens", "kv_tokens"}
    unknown = sorted(str(name) for name in set(data) - known)
    if unknown:
        raise CommandFailedError(f"{place}: unknown {', '.join(unknown)}; expected {', '.join(sorted(known))}")
    try:
        points = np.array(data["step_seconds"], dtype=np.float64).reshape(-1, 2)
        numbers = [float(data["prefill_seconds_per_token"]), float(data.get("kv_tokens", math.inf))]
        slots, chunk = int(data["slots"]), int(data.get("chunk_tokens", 2048))
    except (KeyError, TypeError, ValueError) as error:
        raise CommandFailedError(f"{place}: {error!r}; expected numbers for {_PROFILE_NEEDS}") from None
    good = len(points) > 0 and bool(np.isfinite(points).all()) and bool((points > 0).all())
    if not good or bool((np.diff(points[:, 0]) <= 0).any()) or bool((np.diff(points[:, 1]) < 0).any()):
        raise CommandFailedError(f"{place}: step_seconds: expected pairs [n, seconds] > 0 with n and seconds ascending")
    if not 0.0 <= numbers[0] < math.inf or not numbers[1] > 0.0 or slots < 1 or chunk < 1:
        raise CommandFailedError(f"{place}: expected prefill_seconds_per_token ≥ 0 and the others > 0")
    return EngineProfile(StepCurve(points[:, 0], points[:, 1]), numbers[0], slots, chunk, numbers[1])


def _load(trace: "Trace", place: Path, profile: "EngineProfile | None") -> "tuple[Requests, Pool]":
    from aiops.capacity.replay import Requests, Servers  # noqa: PLC0415 - as in `plan`
    from aiops.capacity.twin import Engines  # noqa: PLC0415 - as in `plan`

    if trace.service_seconds is not None:
        return Requests(trace.arrival_seconds, trace.service_seconds), Servers()
    if profile is None:
        raise CommandFailedError(
            f"{place} has tokens; expected --profile FILE to say how long an engine takes for them"
        )
    assert trace.input_tokens is not None
    assert trace.output_tokens is not None
    pool = Engines(profile)
    return pool.requests(trace.arrival_seconds, trace.input_tokens, trace.output_tokens), pool


def to_dict(made: "Plan") -> dict[str, Any]:
    """The answer as it is printed; what is unknown is null."""
    return {
        "models": {
            model.value: {str(count): _entry(found) for count, found in estimates.items()}
            for model, estimates in made.estimates.items()
        },
        "chosen": made.choice.model.value,
        "recommended_servers": made.recommended_servers,
        "p_slo": _known(made.p_slo),
        "abstained": made.abstained,
        "reason": made.reason,
        "backtest_factors": {
            model.value: _known(min(made.choice.factors[model], 1e6)) for model in made.choice.factors
        },
    }


def _entry(found: "Estimate") -> dict[str, float | None]:
    entry = {
        "rho": _known(found.rho),
        "wait_mean_seconds": _known(found.wait_mean_seconds),
        "wait_p95_seconds": _known(found.wait_p95_seconds),
        "p_wait_over_slo": _known(found.p_wait_over_slo),
    }
    if found.rho >= 1.0:
        entry["backlog_growth_per_second"] = _known(found.backlog_growth_per_second)
    if not math.isnan(found.mean_low_seconds):
        entry["wait_mean_low_seconds"] = _known(found.mean_low_seconds)
        entry["wait_mean_high_seconds"] = _known(found.mean_high_seconds)
    return entry


def rows(made: "Plan") -> list[list[str]]:
    """Table: each number of servers as the chosen model sees it, and M/M/c as the optimistic floor."""
    shown = dict.fromkeys(made.estimates)
    return [
        [
            str(count),
            model.value + (" (chosen)" if model is made.choice.model else ""),
            *(f"{value:.4g}" if math.isfinite(value) else "" for value in _values(made.estimates[model][count])),
        ]
        for count in made.estimates[made.choice.model]
        for model in shown
    ]


def _values(found: "Estimate") -> tuple[float, ...]:
    return (
        found.rho,
        found.wait_mean_seconds,
        found.wait_p95_seconds,
        found.p_wait_over_slo,
        found.backlog_growth_per_second,
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
