"""ARIMA models of the loads of pools: asked for with the detectors' models, in the same rounds of the fit worker."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiops.capacity.arima import Arima
from aiops.capacity.observed import History
from aiops.capacity.sizing import load_of
from aiops.detect.base import Window
from aiops.detect.fitting import Arrays, text_array, text_of
from aiops.kit.clock import Clock

MODULE = "aiops.capacity.arima_fit"
_FEWEST, _MOST = 240, 960  # points of 15 s: an hour teaches something, after four it is yesterday's weather
_MOST_POOLS = 4  # in a round, some seconds of CPU each
_REFIT_SECONDS = 3600.0


class LoadFits:
    """Keeps the promises of :class:`aiops.detect.fitting.Fitted`.

    Parameters
    ----------
    histories
        Gives the histories of all pools by name.
    """

    name = "load"

    def __init__(self, histories: Callable[[], Mapping[str, History]], clock: Clock) -> None:
        self._histories = histories
        self._clock = clock
        self._asked: dict[str, float] = {}
        self.models: dict[str, tuple[Arima, ...]] = {}

    def ask(self, window: Window, most: int) -> Arrays | None:  # noqa: ARG002 - histories are longer than the window
        """Loads of the pools that are due, those that waited longest first."""
        now, histories = self._clock.monotonic(), self._histories()
        self.models = {name: kept for name, kept in self.models.items() if name in histories}
        due = [
            name for name, history in histories.items()
            if np.count_nonzero(~np.isnan(history.column("arrivals"))) >= _FEWEST
            and now - self._asked.get(name, float("-inf")) >= _REFIT_SECONDS
        ]  # fmt: skip
        due = sorted(due, key=lambda name: self._asked.get(name, float("-inf")))[: min(most, _MOST_POOLS)]
        if not due:
            return None
        self._asked |= dict.fromkeys(due, now)
        values = np.full((_MOST, len(due)), np.nan)
        for column, name in enumerate(due):
            load = load_of(histories[name])[0][-_MOST:]
            values[_MOST - len(load) :, column] = load
        known = ~np.isnan(values).all(axis=1)
        return {"values": values[int(np.argmax(known)) :], "names": text_array(due)}

    def accept(self, window: Window, answer: Mapping[str, NDArray[Any]]) -> int:  # noqa: ARG002 - as above
        """Take the models over."""
        names, models = text_of(answer["names"]), answer["models"]
        if models.shape != (len(names), 2, 5):
            raise ValueError(f"models of {len(names)} loads have shape {models.shape}")
        for name, pair in zip(names, models, strict=True):
            self.models[name] = tuple(
                Arima(one[:2], one[2:4], float(one[4]), differenced=bool(kind))
                for kind, one in enumerate(pair) if np.isfinite(one).all()
            )  # fmt: skip
        return sum(map(len, self.models.values()))
