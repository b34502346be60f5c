"""The past that a back-test replays: CSV files or Prometheus; and what is known of it: a list of incidents.

Pages come back from Prometheus as for :mod:`aiops.app.warmup`, so a replay sees the numbers that the scraper would
have seen, also that a scrape failed. Columns of a file and answers to queries are canonical series by name.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from aiops.app.backtest import Answer, Recorded, Truth
from aiops.app.commands.score import Recording
from aiops.app.config import Config
from aiops.app.output import CommandFailedError
from aiops.app.warmup import pages, scrape_times, spacing
from aiops.collect.promapi import History, Range, matchers, same_target
from aiops.signals.catalog import GPU_SIGNALS, HOST_SIGNALS, SIGNALS, stats_of
from aiops.signals.normalise import Normaliser
from aiops.signals.profile import Profile
from aiops.signals.types import Columns, Entity, EntityKind, Labels, Reading, SeriesKey

_POINTS_AT_ONCE = 240
_NAMES = {
    f"{name}:{stat}" if stat else name: (name, stat) for name, signal in SIGNALS.items() for stat in stats_of(signal)
}
_PAIR = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([^,]*)")
_INCIDENT_KEYS = ("start", "end", "labels")


def named(name: str, where: str) -> tuple[str, str]:
    """Signal and statistic of a name such as ``queue_len`` or ``ttft:p95``.

    Raises
    ------
    CommandFailedError
        With the names that come near.
    """
    found = _NAMES.get(name)
    if found is None:
        stats = [known for known in _NAMES if known.partition(":")[0] == name]
        near = stats or get_close_matches(name, _NAMES, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise CommandFailedError(f"{where}: {name!r} is no signal{hint} (docs/reference/signals.md lists them)")
    return found


def from_files(recordings: Mapping[Path, Recording], step_seconds: float, labels: Labels = ()) -> Recorded:
    """One replica per file, named after it; columns named after signals.

    Parameters
    ----------
    labels
        What the replicas have besides ``instance``; without another, their ``job`` is ``csv``.

    Raises
    ------
    CommandFailedError
        When a column names no signal, two name one, or two files one replica.
    """
    answers: list[Answer] = []
    entities: dict[str, Entity] = {}
    for file, recording in recordings.items():
        instance = file.name.removesuffix(".gz").removesuffix(".csv")
        replica = {"job": "csv", "instance": instance, **dict(labels)}
        source = f"csv/{instance}"
        if source in entities:
            raise CommandFailedError(f"{file}: there is already a file of the name {instance}, which names the replica")
        entities[source] = Entity.of(EntityKind.TARGET, job=replica["job"], instance=instance)
        keys = tuple(_key(name, replica, str(file)) for name in recording.names)
        if len(set(keys)) < len(keys):
            raise CommandFailedError(f"{file}: two columns have the same name")
        order = np.argsort(recording.seconds, kind="stable")
        answers += _rows(source, keys, recording.seconds[order], recording.values[order])
    return Recorded(tuple(sorted(answers, key=lambda answer: answer.at)), entities, step_seconds)


def _key(name: str, replica: Mapping[str, str], where: str) -> SeriesKey:
    signal, stat = named(name, where)
    if signal in GPU_SIGNALS:
        return SeriesKey(Entity.of(EntityKind.GPU, **replica, gpu="0"), signal, stat)
    kind = EntityKind.NODE if signal in HOST_SIGNALS else EntityKind.REPLICA
    return SeriesKey(Entity.of(kind, **replica), signal, stat)


def _rows(
    source: str, keys: Sequence[SeriesKey], seconds: NDArray[np.float64], values: NDArray[np.float64]
) -> Iterator[Answer]:
    """Answers of a table: ``seconds`` [rows], ``values`` [rows, keys]. What cannot be is unknown."""
    low = np.array([SIGNALS[key.signal].low for key in keys])
    high = np.array([SIGNALS[key.signal].high for key in keys])
    if (plain := np.array([key.stat == "rate" for key in keys])).any():
        high[plain] = np.inf
    values = np.where((values >= low) & (values <= high), values, np.nan)
    columns = Columns(tuple(keys))
    before = None
    for at, row in zip(seconds.tolist(), values, strict=True):
        changed = before is None or not np.array_equal(before, row, equal_nan=True)
        yield Answer(source, at, Reading(source, at, columns, row), changed)
        before = row


def from_prometheus(
    history: History,
    selector: str,
    config: Config,
    profiles: Sequence[Profile],
    end: float,
    *,
    told: Callable[[int, int], None] = lambda *_: None,
) -> Recorded:
    """Every target that ``up`` knows of, page by page. Blocking.

    Parameters
    ----------
    config
        ``prometheus.lookback`` is how far back, ``interval`` the step; pages are read every ``prometheus.step``.
    told
        Called with how many of all targets are read.

    Raises
    ------
    CommandFailedError
        When no target matches.
    Temporary, Permanent
        When Prometheus cannot be asked.
    """
    ups = history.read(f"up{selector}", end - config.prometheus.lookback, end, config.interval)
    targets = {tuple(pair for pair in labels if pair[0] != "__name__") for labels in ups.labels}
    answers: list[Answer] = []
    entities: dict[str, Entity] = {}
    for done, labels in enumerate(sorted(targets)):
        told(done, len(targets))
        entities[_source(labels)] = Entity(EntityKind.TARGET, labels)
        answers += _target_answers(history, labels, profiles, config, end)
    if not answers:
        raise CommandFailedError(f"Prometheus has no series up{selector} in that time; expected those of the engines")
    return Recorded(tuple(sorted(answers, key=lambda answer: answer.at)), entities, config.interval)


def _source(labels: Labels) -> str:
    rest = dict(labels)
    name = f"{rest.pop('job', '')}/{rest.pop('instance', '')}"
    return name + ("{" + ",".join(f'{key}="{value}"' for key, value in rest.items()) + "}" if rest else "")


def _target_answers(
    history: History, labels: Labels, profiles: Sequence[Profile], config: Config, end: float
) -> Iterator[Answer]:
    source, job = _source(labels), dict(labels).get("job", "")
    selector = matchers('{job="$job",instance="$instance"}', labels)
    stamps = scrape_times(history, selector, job, config, end)
    start, step = end - config.prometheus.lookback, config.prometheus.step or max(config.interval, spacing(stamps))
    found = history.read(selector, start, end, step, most_points=_POINTS_AT_ONCE)
    mine = same_target(found.labels, job)
    found = _without(found, set(labels))
    normaliser = Normaliser(profiles, labels, source, config.signals)
    before = None
    good: set[float] = set()
    for at, page in pages(found, mine, stamps):
        changed = before is None or not np.array_equal(before, page.values, equal_nan=True)
        good.add(at)
        yield Answer(source, at, normaliser.normalise(page, at), changed)
        before = page.values
    for at in stamps:
        if at not in good:
            yield Answer(source, at, None)


def _without(found: Range, pairs: set[tuple[str, str]]) -> Range:
    """Take off what Prometheus added to each series of a target: it did not stand on the page."""
    pairs = {pair for pair in pairs if pair[0] not in ("job", "instance")}
    return replace(found, labels=tuple(tuple(p for p in labels if p not in pairs) for labels in found.labels))


def from_queries(history: History, queries: Mapping[str, str], config: Config, end: float) -> Recorded:
    """Canonical series as answers to queries: name → PromQL. Labels of a result name its replica.

    Raises
    ------
    CommandFailedError
        When a name is no signal, or nothing came.
    """
    start, step = end - config.prometheus.lookback, config.interval
    keys: list[SeriesKey] = []
    rows: list[NDArray[np.float64]] = []
    at: NDArray[np.float64] = np.empty(0)
    for name, query in queries.items():
        signal, stat = named(name, "--query")
        found = history.read(query, start, end, step)
        at = found.at
        for labels, values in zip(found.labels, found.values, strict=True):
            pairs = tuple(pair for pair in labels if pair[0] != "__name__") or (("instance", "query"),)
            keys.append(SeriesKey(Entity(EntityKind.REPLICA, pairs), signal, stat))
            rows.append(values)
    known = np.isfinite(np.array(rows)).any(axis=0) if rows else np.zeros(0, np.bool_)
    if not known.any():
        raise CommandFailedError("the queries gave no sample in that time")
    if len(set(keys)) < len(keys):
        raise CommandFailedError("--query: two results are the same series of the same replica")
    source = "query"
    answers = tuple(_rows(source, keys, at[known], np.array(rows).T[known]))
    return Recorded(answers, {source: Entity.of(EntityKind.TARGET, source=source)}, step)


def known_incidents(file: Path) -> tuple[Truth, ...]:
    """Read a list of incidents: YAML (a list of mappings) or CSV, with start, end and, if wanted, labels.

    Raises
    ------
    CommandFailedError
        Naming the file, the entry, and what was expected.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".csv":
            entries: Any = list(csv.DictReader(text.splitlines(), strict=True))
        else:
            entries = yaml.safe_load(text)
    except OSError as error:
        raise CommandFailedError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, csv.Error, UnicodeDecodeError) as error:
        raise CommandFailedError(f"{file}: cannot be read: {error}") from None
    if isinstance(entries, dict):
        entries = entries.get("incidents")
    if not isinstance(entries, list):
        raise CommandFailedError(f"{file}: expected a list of incidents, each with start and end")
    truths = [_truth(entry, f"{file}: incident {number}") for number, entry in enumerate(entries, 1)]
    return tuple(sorted(truths, key=lambda truth: truth.start))


def _truth(entry: Any, where: str) -> Truth:
    if not isinstance(entry, dict) or not {"start", "end"} <= set(entry) or not set(entry) <= set(_INCIDENT_KEYS):
        raise CommandFailedError(f"{where}: expected start, end and perhaps labels, got {entry!r}")
    start, end = (moment(entry[name], f"{where}: {name}") for name in ("start", "end"))
    if end < start:
        raise CommandFailedError(f"{where}: it ends before it starts")
    return Truth(start, end, _labels(entry.get("labels"), where))


def moment(value: object, where: str) -> float:
    """UTC seconds from a number, a YAML time, or text of either sort; without a zone it is UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    try:
        if isinstance(value, str):
            try:
                return moment(float(value), where)
            except ValueError:
                value = datetime.fromisoformat(value.strip())
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        pass
    raise CommandFailedError(f"{where}: expected epoch seconds or an ISO 8601 time, got {value!r}")


def _labels(value: Any, where: str) -> Labels:
    if value in (None, ""):
        return ()
    if isinstance(value, str):
        found = [_PAIR.fullmatch(piece) for piece in value.split(",")]
        if all(found):
            value = {match[1]: match[2].strip().strip('"') for match in found if match}
    if not isinstance(value, dict):
        raise CommandFailedError(f"{where}: labels: expected name=value,name=value, got {value!r}")
    return tuple(sorted((str(name), str(text)) for name, text in value.items()))
