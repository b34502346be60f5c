"""Fits for those who wait for them, all at once: asked for in parts that an engine of :mod:`aiops.app.parts` does.

Invariant: what is fitted together does not depend on the engine, so neither does a bit of the models.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aiops.app.parts import Engine, Lost
from aiops.app.pipeline import Pipeline
from aiops.detect.base import Window
from aiops.detect.fit import solve
from aiops.detect.fitting import Arrays, Fitted, part, prefixed, text_of
from aiops.detect.settings import FitSettings

_SERIES = 64
"""Series of a part, a second or two of CPU: what the ARIMA fitter takes at once. A forest is a part of its own."""
_FORESTS = "iforest"


@dataclass(slots=True)
class Fits:
    """What came of it.

    Attributes
    ----------
    models
        Models taken over, by detector.
    problems
        Which fits failed, and why.
    """

    models: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def fit(
    pipeline: Pipeline,
    engine: Engine,
    limits: FitSettings | None = None,
    told: Callable[[int, int], None] | None = None,
) -> Fits:
    """Fit what is due, between two ticks.

    Parameters
    ----------
    limits
        Most models, as in a round of the daemon; None for all.
    told
        Hears how many parts of how many are done.
    """
    window, fits = pipeline.ring.window(), Fits()
    asks = [(detector, ask) for detector in pipeline.bank.fitted() for ask in _asks(detector, window, limits)]
    answers = engine.map(solve, [prefixed(ask, detector.name) for detector, ask in asks])
    for done, ((detector, ask), answer) in enumerate(zip(asks, answers, strict=True), 1):
        found = {} if isinstance(answer, Lost) else part(answer, detector.name)
        if isinstance(answer, Lost):
            fits.problems.append(f"{_name(detector, ask, window)}: {answer.reason}")
        elif "error" in found:
            fits.problems.append(f"{_name(detector, ask, window)}: {found['error'].tobytes().decode()}")
        else:
            fits.models[detector.name] += detector.accept(window, found)
        if told:
            told(done, len(asks))
    return fits


def _asks(detector: Fitted, window: Window, limits: FitSettings | None) -> Iterator[Arrays]:
    most = len(window.keys)
    if limits is not None:
        most = limits.most_forests if detector.name == _FORESTS else limits.most_series
    size = 1 if detector.name == _FORESTS else _SERIES
    for asked in range(0, most, size):
        ask = detector.ask(window, min(size, most - asked))
        if ask is None:
            return
        yield ask


def _name(detector: Fitted, ask: Arrays, window: Window) -> str:
    """Which part of the fits it is, for a person."""
    if detector.name == _FORESTS:
        return f"{detector.name} of {text_of(ask['0.names'])[0]}"
    columns = ask.get("columns")
    if columns is None:
        return detector.name
    first = window.keys[int(columns[0])]
    return f"{detector.name} of {len(columns)} series from {first} on"
