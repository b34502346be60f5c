"""An incident as a case folder, and a case folder that came from one as an incident again."""

import csv
import io
import json
import re
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from aiops.app import presets
from aiops.app.output import CommandFailedError
from aiops.app.rca_case import Case
from aiops.detect.base import Window
from aiops.diagnose.diagnosis import Question, diagnose
from aiops.diagnose.record import Diagnosis
from aiops.diagnose.recording import Recording
from aiops.signals.catalog import SIGNALS, stats_of
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey
from aiops.store.codec import Codec

_DIAGNOSES = Codec(tuple[Diagnosis, ...])
_ENTITY = re.compile(r'([a-z]+)\{((?:[^"=,]+="[^"]*",?)*)\}')
_LABEL = re.compile(r'([^"=,]+)="([^"]*)"')
FILES = ("metrics.csv", "topology.csv", "case.json", "diagnosis.json")


def files_of(recording: Recording, diagnoses: Sequence[Diagnosis]) -> dict[str, str]:
    """The files of a case folder by name: numbers, who calls whom, what alerted, and all that was said of it."""
    values = recording.values().astype(np.float64)
    times = recording.at - recording.step_seconds * np.arange(len(values) - 1, -1, -1)
    rows = [[f"{at:.3f}", *("" if isnan(value) else f"{value:.7g}" for value in row)]
            for at, row in zip(times.tolist(), values.tolist(), strict=True)]  # fmt: skip
    first = recording.series[0]
    about = {
        "id": recording.incident,
        "alert": {"time": recording.since, "entity": str(first.entity), "metric": _metric(first)},
        "interval_seconds": recording.step_seconds,
        "reference": dict(zip(("start", "end"), recording.reference, strict=True)),
        "window": dict(zip(("start", "end"), recording.window, strict=True)),
        "alerted": [f"{key.entity}|{_metric(key)}" for key in recording.series],
        "marks": [
            {"at": mark.at, "kind": str(mark.kind), "entity": str(mark.entity), "detail": mark.detail}
            for mark in recording.marks
        ],
    }
    texts = (
        _csv([["timestamp", *(f"{key.entity}|{_metric(key)}" for key in recording.keys)], *rows]),
        _csv([["caller", "callee"], *map(list, recording.calls)]),
        json.dumps(about, indent=1, ensure_ascii=False) + "\n",
        json.dumps(json.loads(_DIAGNOSES.dump(tuple(diagnoses)))[0], indent=1, ensure_ascii=False) + "\n",
    )
    return dict(zip(FILES, texts, strict=True))


def write(files: dict[str, str], folder: Path) -> None:
    """Write a case folder; an existing case is never overwritten.

    Raises
    ------
    CommandFailedError
        When there is one already, or the disk refuses.
    """
    if (folder / "case.json").exists():
        raise CommandFailedError(f"{folder}: there is a case already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_text(files[name], encoding="utf-8")
    except OSError as error:
        raise CommandFailedError(f"{error.filename}: {error.strerror}") from None


def _metric(key: SeriesKey) -> str:
    return f"{key.signal}:{key.stat}" if key.stat else key.signal


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def diagnosis_of(case: Case) -> Diagnosis | None:
    """Known faults that fit a case of our own signals and entities; None for somebody else's case."""
    keys = [_key(entity, metric) for entity, metric in case.columns]
    if not keys or None in keys:
        return None
    step = case.interval_seconds
    rows = np.round((case.times - case.times[0]) / step).astype(int)
    values = np.full((rows[-1] + 1, len(keys)), np.nan, np.float32)
    values[rows] = case.values
    window = Window(float(case.times[-1]), step, values, tuple(keys), np.arange(len(keys)))
    alerted = [_key(*name.rpartition("|")[::2]) for name in case.about.get("alerted", ())]
    series = tuple(key for key in alerted if key is not None) or (_key(case.alert.entity, case.alert.metric),)
    if series[0] is None:
        return None
    question = Question(case.id, case.alert_time, series)  # type: ignore[arg-type]
    marks = [mark for one in case.about.get("marks", ()) if (mark := _mark(one)) is not None]
    return diagnose(question, window, presets.cause_book(), marks=marks, floors=presets.anomaly_policy().units)


def _key(entity: str, metric: str) -> SeriesKey | None:
    found, (signal, _, stat) = entity_of(entity), metric.partition(":")
    known = signal in SIGNALS and stat in stats_of(SIGNALS[signal])
    return SeriesKey(found, signal, stat) if found is not None and known else None


def entity_of(text: str) -> Entity | None:
    """Read what ``str(entity)`` wrote; None when it is no entity of ours."""
    found = _ENTITY.fullmatch(text)
    if found is None or found.group(1) not in set(EntityKind):
        return None
    return Entity.of(EntityKind(found.group(1)), **dict(_LABEL.findall(found.group(2))))


def _mark(one: dict[str, Any]) -> Mark | None:
    entity = entity_of(str(one.get("entity")))
    if entity is None or one.get("kind") not in set(MarkKind):
        return None
    return Mark(MarkKind(one["kind"]), entity, float(one["at"]), str(one.get("detail", "")))
