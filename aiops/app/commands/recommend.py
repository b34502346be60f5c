"""``aiops recommend`` and ``aiops waste``: replica advice of a running daemon, for people and for scripts."""

from argparse import Namespace
from typing import Any

from aiops.app.commands.client import Record, ago, base_url, records
from aiops.app.commands.listing import Listing, listing
from aiops.app.output import Column, Exit, show


def recommend(args: Namespace) -> int:
    """``aiops recommend [--watch]``; exits with 1 when no pool has a number."""
    return listing(args, _advice)


def _advice(args: Namespace) -> Listing:
    listed = _wanted(args)
    columns = [Column("POOL"), Column("NOW"), Column("ADVICE"), Column("P(SLO)"), Column("LIMIT")]
    columns += [Column("FLOOR", wide=True), Column("ERROR", wide=True), Column("AGE"), Column("WHY", wraps=True)]
    columns += [
        Column("HELD", wide=True),
        Column("EVIDENCE", wide=True),
        Column("CURVE", wide=True),
        Column("MODEL", wide=True),
    ]
    code = Exit.OK if any(one.get("desired_replicas") is not None for one in listed) else Exit.FAILED
    return Listing(listed, columns, [_row(one) for one in listed], code)


def waste(args: Namespace) -> int:
    """``aiops waste``."""
    listed = [{"pool": one.get("pool"), **one["waste"]} for one in _wanted(args) if isinstance(one.get("waste"), dict)]
    columns = [Column("POOL"), Column("SEEN h"), Column("REPLICA-h"), Column("IDLE h"), Column("OVER h")]
    columns += [Column("IDLE GPU-h", wide=True), Column("OVER GPU-h", wide=True), Column("COST")]
    columns += [Column("EVIDENCE", wraps=True)]
    rows = [
        [
            str(one["pool"]),
            *(_number(one.get(name), "{:.1f}") for name in (
                "seen_hours", "replica_hours", "idle_replica_hours", "over_replica_hours", "idle_gpu_hours",
                "over_gpu_hours",
            )),
            _number(one.get("over_cost"), "{:.2f}"),
            "; ".join(map(str, one.get("evidence") or ())),
        ]
        for one in listed
    ]  # fmt: skip
    show(listed, columns, rows, output=args.output, headers=args.headers)
    return Exit.OK


def _wanted(args: Namespace) -> list[dict[str, Any]]:
    base_url(args)
    found = [dict(one) for one in records(args, "recommendations", "recommendations")]
    return [one for one in found if args.pool in (None, one.get("pool"), str(one.get("pool")).partition("/")[0])]


def _row(one: Record) -> list[str]:
    binding = one.get("binding") if isinstance(one.get("binding"), dict) else {}
    evidence = [*(binding.get("evidence") or ()), binding.get("advice") or ""] if binding else []
    curve = [
        f"{point.get('replicas')}:{_number(point.get('probability'), '{:.3f}')}"
        for point in one.get("curve") or ()
        if isinstance(point, dict)
    ]
    desired = one.get("desired_replicas")
    return [
        str(one.get("pool", "")),
        f"{one.get('ready_replicas')}/{one.get('current_replicas')}",
        "none" if desired is None else str(desired),
        _number(one.get("probability"), "{:.1%}"),
        str(binding.get("constraint", "")) if binding else "",
        _number(one.get("mmc_floor_replicas"), "{:.0f}"),
        _number(one.get("model_error_ratio"), "{:.2f}x"),
        ago(one.get("at")),
        str(one.get("reason", "")),
        "; ".join(map(str, one.get("held") or ())),
        "; ".join(filter(None, map(str, evidence))),
        " ".join(curve),
        str(one.get("model") or ""),
    ]


def _number(value: object, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else ""
