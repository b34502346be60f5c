"""What the fit worker runs: arrays in, arrays out, nothing else. Importing a fitter imports its heavy library."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiops.detect.fitting import Arrays, part, prefixed

FITTERS = {"arima": "aiops.detect.arima_fit", "iforest": "aiops.detect.iforest_fit"}
"""Detector → module with ``fit(ask) -> answer``."""


def solve(request: Arrays, fitters: Mapping[str, str] = FITTERS) -> dict[str, NDArray[Any]]:
    """Fit what is asked for.

    Parameters
    ----------
    request
        ``<detector>.<array>``: what each detector's ``ask`` gave.

    Returns
    -------
    dict
        ``<detector>.<array>`` of each detector whose fit succeeded, ``<detector>.error`` (text as uint8) of the
        others: one that fails does not cost the others their models.
    """
    answer: dict[str, NDArray[Any]] = {}
    for name in sorted({key.partition(".")[0] for key in request}):
        try:
            found = import_module(fitters[name]).fit(part(request, name))
        except Exception as error:  # noqa: BLE001 - the supervision point of the worker
            text = f"{type(error).__name__}: {error}"
            found = {"error": np.frombuffer(text.encode(), np.uint8)}
        answer |= prefixed(found, name)
    return answer
