"""Load ahead, with bands: several simple forecasters, and the one that was least wrong on this very pool.

The bands are not a formula. Every forecaster is run from every past moment (*origin*), and what then really came is
kept as a path of relative errors; the future is drawn as today's forecast bent by such a path. Bursts, trends that the
method missed and the noise of a quarter of a minute are in those paths as they were seen. NaN = not known, and is
never taken for no load.

References: Holt, ONR Memorandum 52 (1957); Winters, Management Science 6 (1960); Gardner and McKenzie, Management
Science 31 (1985) for the damped trend.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiops.capacity.arima import Arima

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

FEWEST_ORIGINS = 12
_MOST_ORIGINS = 1000
_WARM_UP = 8  # points that smoothing needs before its level means something
_WORTH = 0.98  # a more complicated method must be 2 % better
_SMOOTHING: tuple[tuple[float, float, float], ...] = (
    *((alpha, 0.0, 1.0) for alpha in (0.05, 0.15, 0.3, 0.6)),
    *((alpha, beta, phi) for alpha in (0.1, 0.3, 0.6) for beta in (0.02, 0.1) for phi in (0.9, 0.98)),
)
"""(level, trend, damping) of the exponential smoothings that are tried."""
_SEASONAL = ((0.1, 0.02, 0.2), (0.3, 0.02, 0.2))
"""(level, trend, season) of those with a season."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected, and how wrong that has been.

    Attributes
    ----------
    method
        Name of the forecaster that was chosen.
    scores
        Mean absolute error of each method over the back-test, relative to the mean level.
    path
        float64 [horizon], the expected values ≥ 0 of the next steps.
    deviations
        float64 [origins, horizon], (seen − expected) / (expected + ``floor``) from past origins, newest last.
    floor
        Makes deviations relative where there is load and absolute where there is almost none.
    """

    method: str
    scores: Mapping[str, float]
    path: Floats
    deviations: Floats
    floor: float

    def band(self, share: float) -> Floats:
        """float64 [horizon]: what is not exceeded with probability ``share`` (0 – 1)."""
        spread = np.nanquantile(self.deviations, share, axis=0)
        answer: Floats = np.maximum(0.0, self.path + spread * (self.path + self.floor))
        return answer

    def futures(self, draws: int, rng: np.random.Generator) -> Floats:
        """Draw float64 [draws, horizon] futures; the gaps of a path that was not wholly known are filled by another."""
        chosen = self.deviations[rng.integers(0, len(self.deviations), size=draws)]
        spare = self.deviations[~np.isnan(self.deviations).any(axis=1)]
        instead = spare[rng.integers(0, len(spare), size=draws)] if len(spare) else np.zeros_like(chosen)
        chosen = np.where(np.isnan(chosen), instead, chosen)
        answer: Floats = np.maximum(0.0, self.path + chosen * (self.path + self.floor))
        return answer


@dataclass(frozen=True, slots=True)
class Smoothed:
    """States of exponential smoothing after each point.

    Attributes
    ----------
    level, trend
        float64 [n, variants].
    damping
        float64 [variants].
    season
        float64 [period + n]: place ``period + t`` is what the season of point t became then, so place ``t`` is what
        was expected of it. None = no season.
    """

    level: Floats
    trend: Floats
    damping: Floats
    season: Floats | None = None

    def paths(self, places: Places, horizon: int, variant: int) -> Floats:
        """float64 [places, horizon]: what was expected after the points ``places``; horizon ≤ period."""
        steps = np.arange(1, horizon + 1)
        phi = float(self.damping[variant])
        reach = steps if phi == 1.0 else phi * (1.0 - phi**steps) / (1.0 - phi)
        path = self.level[places, variant, np.newaxis] + self.trend[places, variant, np.newaxis] * reach
        if self.season is not None:
            path = path + self.season[places[:, np.newaxis] + steps]
        answer: Floats = np.maximum(0.0, path)
        return answer


def smooth(values: Floats, variants: tuple[tuple[float, float, float], ...]) -> Smoothed:
    """Level, or level and damped trend, for every variant (level, trend, damping) at once.

    An unknown point moves nothing but time: the level follows the trend. Starts at the first known point, flat.
    """
    alpha, beta, phi = (np.array(column) for column in zip(*variants, strict=True))
    known = np.flatnonzero(~np.isnan(values))
    level = np.full(len(alpha), values[known[0]] if len(known) else np.nan)
    trend = np.zeros(len(alpha))
    levels, trends = np.empty((len(values), len(alpha))), np.empty((len(values), len(alpha)))
    for place, value in enumerate(values.tolist()):
        expected = level + phi * trend
        error = 0.0 if value != value else value - expected  # noqa: PLR0124 - NaN is not itself
        level, trend = expected + alpha * error, phi * trend + alpha * beta * error
        levels[place], trends[place] = level, trend
    return Smoothed(levels, trends, phi)


def smooth_seasons(values: Floats, period: int, *, alpha: float, beta: float, gamma: float, phi: float) -> Smoothed:
    """Additive Holt–Winters with damped trend in error-correction form; the first period sets level and season."""
    levels, trends = np.empty((len(values), 1)), np.empty((len(values), 1))
    level, trend = float(np.nanmean(values[:period])), 0.0
    season = [0.0 if value != value else value - level for value in values[:period].tolist()]  # noqa: PLR0124 - NaN
    for place, value in enumerate(values.tolist()):
        expected = level + phi * trend + season[place]
        error = 0.0 if value != value else value - expected  # noqa: PLR0124 - NaN is not itself
        level, trend = level + phi * trend + alpha * error, phi * trend + alpha * beta * error
        season.append(season[place] + gamma * error)
        levels[place], trends[place] = level, trend
    return Smoothed(levels, trends, np.array([phi]), np.array(season))


def forecast(
    values: Floats, horizon: int, *, first: int = 0, period: int = 0, arima: Sequence[Arima] = ()
) -> Forecast | None:
    """Choose a method by back-test and forecast the next ``horizon`` steps.

    Parameters
    ----------
    values
        float64 [n] ≥ 0, oldest first; NaN = unknown.
    first
        Steps of the horizon that do not count in the choice: they are over before a decision takes effect.
    period
        Points of a season, such as a day; 0, or less than two of them seen, leaves seasonal methods out.
    arima
        Models that were fitted to this load before; they have to win the back-test like everybody else.

    Returns
    -------
    None when too little was seen: fewer than 12 moments from which a whole horizon is known.
    """
    origins = np.arange(max(_WARM_UP, len(values) - horizon - _MOST_ORIGINS), len(values) - horizon)
    if len(origins) < FEWEST_ORIGINS or np.isnan(values[-horizon - FEWEST_ORIGINS :]).all():
        return None
    came = values[origins[:, np.newaxis] + np.arange(1, horizon + 1)]
    seen = (~np.isnan(came)).any(axis=1)
    if np.count_nonzero(seen) < FEWEST_ORIGINS:
        return None
    places = np.append(origins[seen], len(values) - 1)
    best, scores = _best(came[seen], _candidates(values, places, horizon, period, arima), first)
    level = float(np.nanmean(values))
    floor = max(level / 4.0, 1e-12)
    past, path = best[:-1], best[-1]
    deviations = (came[seen] - past) / (past + floor)
    relative = {name: score / max(level, 1e-12) for name, score in scores.items()}
    return Forecast(min(scores, key=lambda name: _handicapped(name, scores)), relative, path, deviations, floor)


def _handicapped(name: str, scores: Mapping[str, float]) -> float:
    return scores[name] * (_WORTH if name == "naive" else 1.0)


def _best(came: Floats, candidates: Iterable[tuple[str, Floats]], first: int) -> tuple[Floats, dict[str, float]]:
    """Paths of the method with the least error, and the error of every method."""
    scores: dict[str, float] = {}
    found: dict[str, Floats] = {}
    for name, paths in candidates:
        wrong = float(np.nanmean(np.abs(came - paths[:-1])[:, first:]))
        if not np.isnan(paths[-1]).any() and wrong < scores.get(name, float("inf")):
            scores[name], found[name] = wrong, paths
    return found[min(scores, key=lambda name: _handicapped(name, scores))], scores


def _candidates(
    values: Floats, places: Places, horizon: int, period: int, arima: Sequence[Arima]
) -> Iterator[tuple[str, Floats]]:
    """Every method with its paths float64 [places, horizon]; the same name may come with several settings."""
    yield "naive", np.repeat(_last_known(values)[places][:, np.newaxis], horizon, axis=1)
    smoothed = smooth(values, _SMOOTHING)
    for variant, (_, beta, _) in enumerate(_SMOOTHING):
        yield "trend" if beta else "level", smoothed.paths(places, horizon, variant)
    for model in arima:
        yield "arima", model.paths(values, places, horizon)
    if period and len(values) >= 2 * period + horizon:
        filled = _last_known(values)
        ahead = places[:, np.newaxis] + np.arange(1, horizon + 1) - period
        yield "seasonal naive", np.where(ahead >= 0, filled[np.maximum(ahead, 0)], np.nan)
        for alpha, beta, gamma in _SEASONAL:
            seasons = smooth_seasons(values, period, alpha=alpha, beta=beta, gamma=gamma, phi=0.95)
            yield "seasonal", seasons.paths(places, horizon, 0)


def _last_known(values: Floats) -> Floats:
    """Each unknown point becomes the last known one; before the first it is the first."""
    known = ~np.isnan(values)
    if not known.any():
        return values
    place = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    answer: Floats = values[np.where(place < 0, int(np.argmax(known)), place)]
    return answer
