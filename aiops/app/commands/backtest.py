"""``aiops backtest``: what the daemon would have said about a recorded past, and whether that is good enough."""

import asyncio
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from aiops.app import presets
from aiops.app.backtest import Decisions, Quality, Recorded, judged, run
from aiops.app.backtest_inputs import from_files, from_prometheus, from_queries, known_incidents, moment
from aiops.app.commands.score import interval_of, read
from aiops.app.config import Config
from aiops.app.config_load import ConfigError, Sources, load
from aiops.app.fits import missing_libraries
from aiops.app.output import Column, CommandFailedError, Exit, Output, say, show, write
from aiops.app.parts import Engine, engine_of
from aiops.app.progress import Progress
from aiops.collect.promapi import History, PrometheusSettings, with_history
from aiops.detect.base import Severity
from aiops.kit.retry import Failure

_PROMETHEUS_STEP = 30.0
_SHORT = 10
"""Entries of a list that a table shows; ``-o wide`` and documents show all."""


@dataclass(frozen=True, slots=True)
class Run:
    """One configuration, what was decided under it, and how good that was."""

    name: str
    config: Config
    decisions: Decisions
    quality: Quality


def backtest(args: Namespace) -> int:
    """``aiops backtest``; exits with 1 when a stated bar is not met."""
    if args.incidents is None and (args.min_recall is not None or args.min_precision is not None):
        raise CommandFailedError("--min-recall and --min-precision need --incidents FILE")
    truths = None if args.incidents is None else known_incidents(args.incidents)
    files = [args.config_file, *([args.against] if args.against else [])]
    configs = {str(file) if file else "defaults": _config(file) for file in files}
    if len(configs) < len(files):
        raise CommandFailedError(f"--against is the same file as --config.file: {args.against}")
    recorded = recorded_by(args, next(iter(configs.values())))
    start, end = recorded.answers[0].at, recorded.answers[-1].at
    inside = None if truths is None else [truth for truth in truths if truth.end >= start and truth.start <= end]
    if truths is not None and inside is not None and len(inside) < len(truths):
        out = len(truths) - len(inside)
        say(f"aiops: {out} of {len(truths)} incidents lie outside the replayed time and are left out")
    with engine_of(args) as engine:
        decided = {name: _run(name, config, recorded, args, engine) for name, config in configs.items()}
    runs = [
        Run(name, config, decided[name], judged(decided[name], inside, Severity(args.severity), args.grace))
        for name, config in configs.items()
    ]
    failed = _failed(runs[0], recorded, args)
    failed += [f"{one.name}: a fit failed: {problem}" for one in runs for problem in one.decisions.problems]
    _print(runs, recorded, failed, args)
    for text in failed:
        say(f"aiops: {text}")
    return Exit.FAILED if failed else Exit.OK


def _config(file: Path | None) -> Config:
    try:
        return load(Config, Sources(file=file)).config
    except ConfigError as error:
        raise CommandFailedError(str(error)) from None


def recorded_by(args: Namespace, config: Config, step: float | None = None) -> Recorded:
    """The past that flags ask for; with ``step`` in seconds on that grid, and pages of Prometheus once per scrape."""
    if args.csv and (args.query or args.selector != "{}" or args.end):
        raise CommandFailedError("--query, --selector and --end go with --prometheus")
    if args.prometheus and args.label:
        raise CommandFailedError("--label goes with --csv; series of Prometheus have their own")
    if args.csv:
        try:
            found = {file: read(file) for file in args.csv}
        except OSError as error:
            raise CommandFailedError(f"{error.filename}: {error.strerror}") from None
        step = step or args.step or max(interval_of(np.sort(one.seconds), file) for file, one in found.items())
        return from_files(found, step, tuple(_pair(text, "--label", "NAME=VALUE") for text in args.label))
    pages_step = None if step else max(args.step or _PROMETHEUS_STEP, config.interval)
    step = step or pages_step or config.interval
    try:
        PrometheusSettings(url=args.prometheus, selector=args.selector)
    except ValueError as error:
        raise CommandFailedError(f"--prometheus, --selector: {error}") from None
    settings = config.prometheus.model_copy(
        update={"url": args.prometheus, "lookback": args.range, "step": pages_step, "deadline": args.timeout}
    )
    config = config.model_copy(update={"prometheus": settings, "interval": step})
    # A grid of whole steps: the same question gives the same points, whenever it is asked.
    end = (time.time() if args.end is None else moment(args.end, "--end")) // step * step
    queries = dict(_pair(text, "--query", "SIGNAL=PROMQL") for text in args.query)

    def work(history: History) -> Recorded:
        if queries:
            found = from_queries(history, queries, config, end)
        else:
            profiles = presets.engine_profiles()
            found = from_prometheus(history, args.selector, config, profiles, end, told=progress.to)
        progress.wipe()
        for text in history.warnings:
            say(f"aiops: Prometheus warns: {text}")
        return found

    try:
        with Progress("reading targets") as progress:
            return asyncio.run(with_history(settings, work))
    except Failure as error:
        raise CommandFailedError(str(error)) from None


def _pair(text: str, flag: str, form: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not value.strip():
        raise CommandFailedError(f"{flag}: expected {form}, got {text!r}")
    return name.strip(), value.strip()


def _run(name: str, config: Config, recorded: Recorded, args: Namespace, engine: Engine) -> Decisions:
    fits, missing = args.fits and config.detect.fit.enabled, missing_libraries()
    if fits and missing:
        say(f"aiops: no ARIMA and no isolation forest, for want of {', '.join(missing)} (aiops[analytics])")
    with Progress(f"replaying {name}") as progress:
        return run(recorded, config, fits=fits and not missing, engine=engine, told=progress.to)


def _failed(first: Run, recorded: Recorded, args: Namespace) -> list[str]:
    quality, failed = first.quality, []
    rate = len(quality.alerts) / recorded.weeks
    if args.max_alerts_per_week is not None and rate > args.max_alerts_per_week:
        failed.append(f"{rate:.4g} alerts per week, at most {args.max_alerts_per_week:g} were asked for")
    for name, value, least in (
        ("recall", quality.recall, args.min_recall),
        ("precision", quality.precision, args.min_precision),
    ):
        # Without known incidents there is no recall to fall short of, without alerts no precision.
        if least is not None and value < least:
            failed.append(f"{name} is {value:.3f}, at least {least:g} was asked for")
    return failed


def _print(runs: Sequence[Run], recorded: Recorded, failed: Sequence[str], args: Namespace) -> None:
    documents = [to_dict(one, recorded, judged_by_truth=args.incidents is not None) for one in runs]
    data = {
        "start": clock_time(recorded.answers[0].at),
        "end": clock_time(recorded.answers[-1].at),
        "weeks": recorded.weeks,
        "step_seconds": recorded.step_seconds,
        "sources": len(recorded.entities),
        "least_severity": args.severity,
        "runs": documents,
        "failed": list(failed),
    }
    if args.output in (Output.TABLE, Output.WIDE):
        write(
            f"{data['start']} to {data['end']}, {recorded.weeks:.3g} weeks at {recorded.step_seconds:g} s, "
            f"{len(recorded.entities)} source(s); counted from severity {args.severity} up\n\n"
        )
    columns = [Column("WHAT"), *(Column(one.name) for one in runs)]
    show(data, columns, rows(documents), output=args.output, headers=args.headers)
    if args.output in (Output.TABLE, Output.WIDE):
        for one in documents:
            _lists(one, args)


def _lists(one: dict[str, Any], args: Namespace) -> None:
    """Which incidents were missed, and which of ours were none."""
    missed = [[entry["start"], entry["end"], _text(entry["labels"])] for entry in one.get("missed", ())]
    false = [[entry["at"], entry["severity"], entry["title"], entry["where"]] for entry in one.get("false", ())]
    for title, headers, cells in (
        ("missed", ("FROM", "TO", "LABELS"), missed),
        ("false", ("AT", "SEVERITY", "INCIDENT", "WHERE"), false),
    ):
        if cells:
            write(f"\n{title} under {one['config']}: {len(cells)}\n")
            shown = cells if args.output is Output.WIDE else cells[:_SHORT]
            show(None, [Column(name) for name in headers], shown, output=args.output, headers=args.headers)


def _text(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def to_dict(one: Run, recorded: Recorded, *, judged_by_truth: bool) -> dict[str, Any]:
    """One run as it is printed; what is unknown is null."""
    quality, decisions, weeks = one.quality, one.decisions, recorded.weeks
    by_rule = Counter((alert.rule, alert.severity.value) for alert in decisions.fired)
    data: dict[str, Any] = {
        "config": one.name,
        "ticks": decisions.ticks,
        "series": decisions.series,
        "fitted_models": decisions.fitted_models,
        "alerts": len(quality.alerts),
        "alerts_per_week": len(quality.alerts) / weeks,
        "incidents": len(quality.stories),
        "incidents_per_week": len(quality.stories) / weeks,
        "by_severity": {
            severity.value: sum(alert.severity is severity for alert in decisions.fired) / weeks
            for severity in Severity
        },
        "by_rule": [
            {"rule": rule, "severity": severity, "alerts": count, "per_week": count / weeks}
            for (rule, severity), count in sorted(by_rule.items())
        ],
    }
    if judged_by_truth:
        data |= _against_truth(one, weeks)
    data["fired"] = [
        {"at": clock_time(alert.at), "ended": clock_time(alert.ended_at) if alert.ended_at else None,
         "rule": alert.rule, "severity": alert.severity.value, "series": alert.series, "reason": alert.reason}
        for alert in decisions.fired
    ]  # fmt: skip
    return data


def _against_truth(one: Run, weeks: float) -> dict[str, Any]:
    quality = one.quality
    delays = np.array(quality.delays)
    return {
        "known": len(quality.found) + len(quality.missed),
        "found": len(quality.found),
        "recall": _known(quality.recall),
        "precision": _known(quality.precision),
        "delay_median_seconds": float(np.median(delays)) if len(delays) else None,
        "delay_p90_seconds": float(np.quantile(delays, 0.9)) if len(delays) else None,
        "false_alerts_per_week": len(quality.false_alerts) / weeks,
        "false_statistical_alerts_per_week": sum(alert.statistical for alert in quality.false_alerts) / weeks,
        "budget_asked_per_week": one.config.detect.budget,
        "missed": [
            {"start": clock_time(truth.start), "end": clock_time(truth.end), "labels": dict(truth.labels)}
            for truth in quality.missed
        ],
        "false": [
            {"at": clock_time(at), "severity": severity.value, "title": story.title, "id": story.id,
             "where": next((alert.series for alert in quality.false_alerts if alert.at == at), "")}
            for story, severity, at in quality.false_stories
        ],
    }  # fmt: skip


def rows(documents: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table: a line per number, a column per configuration."""
    plain = (
        "alerts", "alerts_per_week", "incidents", "incidents_per_week", "known", "found", "precision", "recall",
        "delay_median_seconds", "delay_p90_seconds", "false_alerts_per_week", "false_statistical_alerts_per_week",
        "budget_asked_per_week", "series", "fitted_models",
    )  # fmt: skip
    listed = [
        [name.replace("_", " "), *(_number(one.get(name)) for one in documents)]
        for name in plain
        if any(one.get(name) is not None for one in documents)
    ]
    rules = sorted({(entry["rule"], entry["severity"]) for one in documents for entry in one["by_rule"]})
    for rule, severity in rules:
        each = [
            next((e["per_week"] for e in one["by_rule"] if (e["rule"], e["severity"]) == (rule, severity)), 0.0)
            for one in documents
        ]
        listed.append([f"{rule} ({severity}) per week", *map(_number, each)])
    return listed


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def clock_time(at: float) -> str:
    """UTC seconds as ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
