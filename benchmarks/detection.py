"""How well and how cheaply anomalies are found in labelled recordings, beside peers: prints one JSON document.

Every set is a folder with ``manifest.json`` (per series: file, n_train = rows that are not judged, period_s, and
nab_windows where they differ from the labels) and CSV files ``timestamp,value[,value…],label``. All detectors stream:
a score sees the past alone. Ours runs with its one default configuration.

Metrics, per set, from one global threshold that is chosen with the labels, as is usual, except for ``at_1``:

* ``nab``: reward of the first point over the threshold in a window, by its place, minus 0.11 per point outside, scaled
  so that silence is 0 and perfection 100; the best threshold.
* ``vus_pr``: area under precision and recall with soft edges of 0 to 100 rows around events, mean over 11 widths.
* ``recall``, ``f1``, ``delay_points`` of events at no more than one false alert per series-week. A false alert is a
  point over the threshold outside events and the refractory hour (or row) after them, raised again hourly at most.
* ``at_1``: the same with the shipped threshold, 1.0, and nothing chosen: false alerts realised ÷ asked, recall, f1.

Usage: ``python benchmarks/detection.py DATA [set …] [--sample N]``. Peers too slow for all rows run on the N shortest
series of a set, and ours is then shown on those too.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from aiops.app.commands.score import read
from aiops.detect.ensemble import Ensemble

WEEK = 7 * 86400.0
GRID = 60
TOP = np.tanh(2.5)  # the NAB reward of a window's first point


@dataclass(frozen=True)
class Series:
    """A recording with its truth; arrays over all rows, ``start`` = first judged row."""

    seconds: np.ndarray
    values: np.ndarray
    label: np.ndarray
    start: int
    nab_start: int
    windows: list[tuple[int, int]]
    period: float


def load(folder: Path) -> list[Series]:
    found = []
    for entry in json.loads((folder / "manifest.json").read_text()):
        recording = read(folder / entry["file"])
        label = np.loadtxt(folder / entry["file"], delimiter=",", skiprows=1, usecols=[-1]).astype(bool)
        start, special = entry["n_train"], entry.get("nab_windows")
        windows = events(label) if special is None else [(a, b) for a, b in special]
        found.append(
            Series(
                recording.seconds,
                recording.values,
                label,
                start,
                start if special is None else int(min(0.15 * len(label), 750)),
                windows if special is not None else [window for window in windows if window[1] >= start],
                entry["period_s"],
            )
        )
    return found


def events(label: np.ndarray) -> list[tuple[int, int]]:
    edge = np.diff(np.concatenate([[0], label.astype(int), [0]]))
    return list(zip(np.flatnonzero(edge == 1).tolist(), (np.flatnonzero(edge == -1) - 1).tolist(), strict=True))


def nab(many: Sequence[Series], scores: Sequence[np.ndarray], thresholds: np.ndarray) -> float:
    """Best NAB-like score over ``thresholds`` (falling)."""
    total = np.zeros(len(thresholds))
    best_possible = 0.0
    for series, score in zip(many, scores, strict=True):
        worth = np.full(len(score), -1.0)
        inside = np.zeros(len(score), bool)
        for number, (begin, end) in enumerate(series.windows):
            following = series.windows[number + 1][0] if number + 1 < len(series.windows) else len(score)
            width = end - begin + 1
            after = np.arange(end + 1, following)
            distance = np.minimum((after - end) / max(width - 1, 1e-9), 4.0)
            worth[after] = np.where(distance > 3, -1.0, -np.tanh(2.5 * np.minimum(distance, 3.0)))
            inside[begin : end + 1] = True
            reward = np.tanh(2.5 * (end - np.arange(begin, end + 1) + 1) / width) / TOP
            judged = np.arange(begin, end + 1) >= series.nab_start
            # Reward falls within a window, so the first point over a threshold earns most.
            highest = np.maximum.accumulate(np.where(judged, score[begin : end + 1], -np.inf))
            first = np.searchsorted(highest, thresholds, side="left")
            total += np.where(first < width, 1 + reward[np.minimum(first, width - 1)], 0.0)
        best_possible += 2 * len(series.windows)
        outside = np.flatnonzero(~inside[series.nab_start :]) + series.nab_start
        order = outside[np.argsort(-score[outside], kind="stable")]
        cost = np.concatenate([[0.0], np.cumsum(0.11 * worth[order])])
        total += cost[np.searchsorted(-score[order], -thresholds, side="right")]
    return 100 * max(0.0, float(total.max())) / best_possible if best_possible else float("nan")


def vus_pr(score: np.ndarray, label: np.ndarray) -> float:
    found = events(label)
    order = -np.sort(-score)
    thresholds = order[np.linspace(0, len(score) - 1, 250).astype(int)]
    bucket = np.searchsorted(-thresholds, -score, side="left")  # first threshold that admits the row
    admitted = len(score) - np.searchsorted(order[::-1], thresholds, side="left")
    areas = []
    for width in range(0, 101, 10):
        soft, half = label.astype(float), width // 2
        distance = np.arange(1, half + 1)
        ramp = np.sqrt(1 - distance / width) if width else distance.astype(float)
        merged: list[list[int]] = []
        for begin, end in found:
            right, left = end + distance, begin - distance
            for side in (right, left):
                there = (side >= 0) & (side < len(score))
                np.add.at(soft, side[there], np.where(label[side[there]], 0.0, ramp[there]))
            if merged and begin - half <= merged[-1][1]:
                merged[-1][1] = end + half
            else:
                merged.append([max(begin - half, 0), end + half])
        soft = np.minimum(soft, 1.0)
        hits = np.cumsum(np.bincount(bucket, weights=soft, minlength=len(thresholds) + 1)[: len(thresholds)])
        extra = np.cumsum(np.bincount(bucket, weights=soft - label, minlength=len(thresholds) + 1)[: len(thresholds)])
        touched = [bucket[begin : end + 1].min() for begin, end in merged]
        exist = np.cumsum(np.bincount(touched, minlength=len(thresholds) + 1)[: len(thresholds)]) / len(merged)
        recall = np.minimum(hits / (label.sum() + extra / 2), 1.0) * exist
        areas.append(np.sum(np.diff(np.concatenate([[0.0], recall])) * hits / admitted))
    return float(np.mean(areas))


def alerts(many: Sequence[Series], scores: Sequence[np.ndarray], threshold: float) -> dict[str, float]:
    false = found = total = 0
    weeks = 0.0
    delays = []
    for series, score in zip(many, scores, strict=True):
        seconds, judged, label = (array[series.start :] for array in (series.seconds, score, series.label))
        weeks += (seconds[-1] - seconds[0]) / WEEK
        pause = max(3600.0, series.period)
        counts = np.ones(len(judged), bool)
        for begin, end in events(label):
            counts[begin : np.searchsorted(seconds, seconds[end] + pause, side="right")] = False
            total += 1
            over = np.flatnonzero(judged[begin : end + 1] >= threshold)
            if len(over):
                found += 1
                delays.append(int(over[0]))
        last = -np.inf
        for moment in seconds[counts & (judged >= threshold)]:
            if moment >= last + pause:
                false, last = false + 1, moment
    recall, precision = found / max(total, 1), found / max(found + false, 1)
    f1 = 2 * recall * precision / max(recall + precision, 1e-12)
    delay = float(np.median(delays)) if delays else float("nan")
    return {"false_per_week": false / weeks, "recall": recall, "f1": f1, "delay_points": delay}


def judge(many: Sequence[Series], scores: Sequence[np.ndarray], *, shipped: bool) -> dict[str, object]:
    scores = [np.nan_to_num(score, nan=0.0) for score in scores]
    pooled = -np.sort(-np.concatenate([score[series.start :] for series, score in zip(many, scores, strict=True)]))
    places = np.logspace(0, np.log10(max(0.1 * len(pooled), 2)), GRID).astype(int)
    thresholds = np.unique(pooled[np.minimum(np.concatenate([[0], places]), len(pooled) - 1)])[::-1]
    low, high = 0, len(thresholds) - 1  # false alerts grow as the threshold falls, but for re-raising
    while low < high:
        middle = (low + high + 1) // 2
        fits = alerts(many, scores, thresholds[middle])["false_per_week"] <= 1
        low, high = (middle, high) if fits else (low, middle - 1)
    at_budget = alerts(many, scores, thresholds[low])
    if at_budget["false_per_week"] > 1:  # even the largest score occurs too often
        at_budget = alerts(many, scores, np.inf)
    low, high = 0, low  # the highest threshold with that recall has the fewest false alerts
    while low < high:
        middle = (low + high) // 2
        enough = alerts(many, scores, thresholds[middle])["recall"] >= at_budget["recall"]
        low, high = (low, middle) if enough else (middle + 1, high)
    at_budget = min(at_budget, alerts(many, scores, thresholds[low]), key=lambda one: one["false_per_week"])
    areas = [
        vus_pr(score[series.start :], series.label[series.start :])
        for series, score in zip(many, scores, strict=True)
        if series.label[series.start :].any()
    ]
    result: dict[str, object] = {"nab": nab(many, scores, thresholds), "vus_pr": float(np.mean(areas)), **at_budget}
    if shipped:
        one = alerts(many, scores, 1.0)
        result["at_1"] = {"realised_per_asked": one["false_per_week"], "recall": one["recall"], "f1": one["f1"]}
    return result


def ours(series: Series) -> np.ndarray:
    return Ensemble(series.values.shape[1], series.period).push(series.values).score


def rolling_z(series: Series, window: int = 200) -> np.ndarray:
    def before(rows: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
        end = np.arange(len(rows))
        begin = np.maximum(end - window, 0)
        return (total[end] - total[begin]) / np.maximum(end - begin, 1)[:, None]

    values = series.values - series.values[:1]
    mean = before(values)
    deviation = np.sqrt(np.maximum(before(values**2) - mean**2, 0))
    # Never less than a hundredth of that of the whole past: a constant hour is no reason to alarm at the first change.
    count = np.arange(len(values))[:, None]
    past = (np.cumsum(values**2, axis=0) - np.cumsum(values, axis=0) ** 2 / (count + 1)) / (count + 1)
    floor = 0.01 * np.sqrt(np.maximum(np.concatenate([past[:1], past[:-1]]), 0)) + 1e-9
    score = np.abs(values - mean) / np.maximum(deviation, floor)
    score[:30] = 0
    return score.max(axis=1)


def isolation_forest(series: Series, refit: int = 1000, memory: int = 4000) -> np.ndarray:
    from sklearn.ensemble import IsolationForest

    values = lagged(series.values, 10) if series.values.shape[1] == 1 else series.values
    score = np.zeros(len(values))
    for begin in [100, *range(refit, len(values), refit)]:
        forest = IsolationForest(n_estimators=100, random_state=1).fit(values[max(0, begin - memory) : begin])
        end = min(refit if begin == 100 else begin + refit, len(values))
        if begin < end:
            score[begin:end] = -forest.score_samples(values[begin:end])
    return score


def arima(series: Series, refit: int = 1000, memory: int = 1000) -> np.ndarray:
    from statsmodels.tsa.arima.model import ARIMA

    values, score = series.values[:, 0], np.zeros(len(series.values))
    for begin in [200, *range(refit, len(values), refit)]:
        end = min(refit if begin == 200 else begin + refit, len(values))
        if begin >= end:
            continue
        past = values[max(0, begin - memory) : begin]
        scale = past.std() or 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                fitted = ARIMA(past / scale, order=(2, 0, 1)).fit()
                residual = fitted.apply(values[max(0, begin - memory) : end] / scale).resid[len(past) :]
            except (np.linalg.LinAlgError, ValueError):
                continue
        score[begin:end] = np.abs(residual) / (np.std(fitted.resid[10:]) + 1e-9)
    return np.minimum(np.nan_to_num(score), 1e3)


def lagged(values: np.ndarray, rows: int) -> np.ndarray:
    """Each row with those before it, [rows, rows · channels]; the first row stands for what came before it."""
    padded = np.concatenate([np.repeat(values[:1], rows - 1, axis=0), values])
    return np.lib.stride_tricks.sliding_window_view(padded, rows, axis=0).reshape(len(values), -1)


def netdata_like(series: Series, refit: int = 360, models: int = 18, memory: int = 720) -> np.ndarray:
    """As Netdata does, per channel: smoothed differences, six in a row, two centres by k-means, and a consensus of the
    last models; the score is the smallest distance in units of what that model saw when it was made."""
    change = np.diff(series.values, axis=0, prepend=series.values[:1])
    smooth = lagged(change, 3).reshape(len(change), -1, 3).mean(axis=2)
    scores = np.zeros_like(smooth)
    for channel in range(smooth.shape[1]):
        points = lagged(smooth[:, channel : channel + 1], 6)
        made: list[tuple[np.ndarray, float, float]] = []
        for begin in range(refit, len(points), refit):
            made = [*made, two_centres(points[max(0, begin - memory) : begin])][-models:]
            block = points[begin : begin + refit]
            each = [(spread(block, centres) - low) / max(high - low, 1e-12) for centres, low, high in made]
            scores[begin : begin + refit, channel] = np.min(each, axis=0)
    return np.clip(scores, 0, 1e3).max(axis=1)


def spread(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Mean distance to the centres."""
    return np.sqrt(((points[:, None] - centres) ** 2).sum(axis=2)).mean(axis=1)


def two_centres(points: np.ndarray, rounds: int = 20) -> tuple[np.ndarray, float, float]:
    """Centres by Lloyd's rounds, and the least and largest mean distance to them."""
    order = np.argsort(points.sum(axis=1))
    centres = points[order[[len(order) // 4, 3 * len(order) // 4]]]
    for _ in range(rounds):
        nearer = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        if nearer.all() or not nearer.any():
            break
        centres = np.stack([points[nearer == one].mean(axis=0) for one in (0, 1)])
    distance = spread(points, centres)
    return centres, float(distance.min()), float(distance.max())


def river_deviation(series: Series) -> np.ndarray:
    from river.anomaly import StandardAbsoluteDeviation

    scores = np.zeros_like(series.values)
    for channel, values in enumerate(series.values.T.tolist()):
        model = StandardAbsoluteDeviation()
        for row, value in enumerate(values):
            scores[row, channel] = model.score_one(None, value)
            model.learn_one(None, value)
    return np.nan_to_num(np.abs(scores), posinf=0.0).max(axis=1)


def pyod_ecod(series: Series, refit: int = 1000, memory: int = 4000) -> np.ndarray:
    from pyod.models.ecod import ECOD

    values = lagged(series.values, 10) if series.values.shape[1] == 1 else series.values
    score = np.zeros(len(values))
    for begin in [100, *range(refit, len(values), refit)]:
        end = min(refit if begin == 100 else begin + refit, len(values))
        if begin < end:
            score[begin:end] = ECOD().fit(values[max(0, begin - memory) : begin]).decision_function(values[begin:end])
    return score


Detector = Callable[[Series], np.ndarray]
QUICK: dict[str, Detector] = {"aiops": ours, "rolling z 200": rolling_z, "k-means as Netdata does": netdata_like}
SLOW: dict[str, Detector] = {
    "aiops": ours,
    "rolling z 200": rolling_z,
    "sklearn IsolationForest, lags": isolation_forest,
    "statsmodels ARIMA(2,0,1)": arima,
}
EXTRA: dict[str, tuple[str, Detector]] = {
    "river": ("river StandardAbsoluteDeviation", river_deviation),
    "pyod": ("PyOD ECOD, lags", pyod_ecod),
}
"""Peers that are measured where they are installed; they are no dependency of ours."""
SLOW |= {name: detector for module, (name, detector) in EXTRA.items() if find_spec(module) is not None}


def measure(detectors: dict[str, Detector], many: list[Series]) -> dict[str, object]:
    results: dict[str, object] = {}
    for name, detector in detectors.items():
        if detector is arima and many[0].values.shape[1] > 1:
            results[name] = "one channel only"
            continue
        begun = time.process_time()
        scores = [detector(series) for series in many]
        cpu = time.process_time() - begun
        points = sum(len(series.values) for series in many)
        results[name] = {
            **judge(many, scores, shipped=detector is ours),
            "cpu_seconds_per_million_rows": cpu / points * 1e6,
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--sample", type=int, default=3, help="series per set for slow peers; 0 leaves them out")
    args = parser.parse_args()
    names = args.sets or sorted(path.parent.name for path in args.data.glob("*/manifest.json"))
    report: dict[str, object] = {}
    for name in names:
        many = load(args.data / name)
        report[name] = {"series": len(many), **measure(QUICK, many)}
        if args.sample:
            labelled = [series for series in many if series.label[series.start :].any()]
            few = sorted(labelled, key=lambda series: len(series.values))[: args.sample]
            report[f"{name}, {len(few)} shortest series"] = measure(SLOW, few)
    libraries = ("numpy", "scikit-learn", "statsmodels", *EXTRA)
    print(
        json.dumps(
            {"sets": report, "versions": {one: known_version(one) for one in libraries}}, indent=2, default=float
        )
    )


def known_version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
