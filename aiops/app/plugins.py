"""Detectors of other packages: found by entry point, used only when the configuration names them.

A package offers one in its ``pyproject.toml``::

    [project.entry-points."aiops.detectors"]
    mine = "my_package:Mine"

where ``Mine(settings, policy)`` makes a :class:`aiops.detect.base.Detector` called ``mine``. Whoever writes one runs
:func:`aiops.detect.checks.check_detector` in its tests. Code of strangers runs in every tick, so it is watched: one
that raises, or answers in the wrong shape, is left out until the next reload, and the others go on.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aiops.detect.bank import DETECTORS, Builder
from aiops.detect.base import Detector, Scores, Window
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings

GROUP = "aiops.detectors"
_LOG = logging.getLogger("aiops.app.plugins")
_Result = TypeVar("_Result")


def named_plugins(names: Sequence[str], found: Iterable[EntryPoint] | None = None) -> dict[str, Builder]:
    """Load the plug-ins of these names; the others are not even imported.

    Raises
    ------
    ValueError
        When one is not installed, cannot be imported, has the name of one of ours, or comes from two packages.
    """
    if not names:
        return {}
    offered: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP) if found is None else found:
        offered.setdefault(point.name, []).append(point)
    return {name: _loaded(name, offered) for name in names}


def _loaded(name: str, offered: Mapping[str, Sequence[EntryPoint]]) -> Builder:
    if name in DETECTORS or not name.isidentifier() or name == "bank":
        raise ValueError(f"detect.plugins: {name!r} cannot be used as the name of a plug-in")
    points = offered.get(name, ())
    if len(points) != 1:
        there = ", ".join(sorted(offered)) or "none"
        what = "is offered by several packages" if points else f"is not installed; the group {GROUP} has: {there}"
        raise ValueError(f"detect.plugins: {name!r} {what}")
    try:
        build = points[0].load()
    except Exception as error:
        raise ValueError(f"detect.plugins: {name!r} cannot be loaded: {type(error).__name__}: {error}") from error

    def guarded(settings: DetectSettings, policy: Compiler) -> Detector:
        try:
            detector = build(settings, policy)
        except Exception as error:
            raise ValueError(f"detect.plugins: {name!r} cannot be built: {type(error).__name__}: {error}") from error
        if getattr(detector, "name", None) != name:
            raise ValueError(f"detect.plugins: {name!r} calls itself {getattr(detector, 'name', None)!r}")
        return Guarded(detector)

    return guarded


class Guarded:
    """A detector that cannot stop the others: after its first fault it knows nothing more."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self.fault = ""
        self._detector = detector

    def score(self, window: Window) -> Scores:
        """Judge; NaN everywhere after a fault."""
        capacity = len(window.keys)
        nothing = np.full(capacity, np.nan, np.float32)
        made = self._tried(lambda: _checked(self._detector.score(window), capacity))
        return made or Scores(nothing, nothing, nothing, nothing)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Pass on."""
        self._tried(lambda: self._detector.learn(window, quiet))

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Pass on."""
        self._tried(lambda: self._detector.relearn(window, columns))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Its arrays; none after a fault."""
        return self._tried(self._detector.state) or {}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Pass on; a state that it cannot take is refused as ours would be."""
        try:
            self._detector.restore(state)
        except Exception as error:
            raise ValueError(f"{self.name} refuses its saved state: {type(error).__name__}: {error}") from error

    def _tried(self, call: Callable[[], _Result]) -> _Result | None:
        if self.fault:
            return None
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - the supervision point of foreign code
            self.fault = f"{type(error).__name__}: {error}"
            _LOG.error("plug-in left out until the next reload", extra={"plugin": self.name, "error": self.fault})
            return None


def _checked(scores: Scores, capacity: int) -> Scores:
    arrays = [np.asarray(getattr(scores, name), np.float32) for name in ("score", "expected", "lower", "upper")]
    shapes = {array.shape for array in arrays}
    if shapes != {(capacity,)}:
        raise ValueError(f"expected four arrays of {capacity} numbers, got the shapes {sorted(shapes)}")
    return Scores(*arrays)
