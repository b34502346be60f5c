"""What the worker fits: the right models, within bounds, whatever the series are like."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect import arima_filter as af
from aiops.detect.arima import MEAN, SEASON
from aiops.detect.fit import solve
from aiops.detect.fitting import pack, part, prefixed, text_array, text_of, unpack

arima_fit = pytest.importorskip("aiops.detect.arima_fit")
ROWS = 500


def ask(values: NDArray[Any], *, step_seconds: float = 5.0, thorough: bool = False) -> dict[str, NDArray[Any]]:
    count = values.shape[1]
    return {
        "values": np.asarray(values, np.float32),
        "columns": np.arange(count),
        "generation": np.ones(count, np.int64),
        "now": np.asarray(1e9),
        "step_seconds": np.asarray(step_seconds),
        "thorough": np.full(count, thorough),
    }


def process(kind: str, rng: np.random.Generator) -> NDArray[Any]:
    noise = rng.standard_normal(ROWS + 100)
    values = np.zeros(ROWS + 100)
    for t in range(1, ROWS + 100):
        values[t] = {
            "noise": noise[t],
            "ar": 0.8 * values[t - 1] + noise[t],
            "ewma": values[t - 1] + noise[t] - 0.7 * noise[t - 1],
        }[kind]
    return values[100:]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e9])
@pytest.mark.parametrize("thorough", [False, True])
def test_it_finds_the_process(scale: float, thorough: bool) -> None:
    rng = np.random.default_rng(3)
    values = np.column_stack([process(kind, rng) for kind in ("noise", "ar", "ewma")]) * scale + 3 * scale
    found = arima_fit.fit(ask(values, thorough=thorough))
    assert found["fitted"].all()
    # Close to the innovations' true variance: nothing is left that could be predicted.
    np.testing.assert_allclose(found["variance"] / scale**2, 1.0, atol=0.15)
    model = found["model"]
    assert found["orders"][:, 2].tolist() in ([0, 1, 1], [1, 1, 1], [0, 1, 2])
    assert model[af.DELTA].tolist() == [0, 0, 1]
    assert abs(model[af.PHI.start, 0]) < 0.2


def test_the_state_that_comes_back_is_that_after_the_last_row() -> None:
    values = np.column_stack([process(kind, np.random.default_rng(1)) for kind in ("ar", "ewma")])
    values[-3, 0] = np.nan
    found = arima_fit.fit(ask(values))
    again = found["model"][: af.ROWS].copy()
    af.start(again)
    af.run(again, values.astype(np.float32) - found["model"][MEAN])
    np.testing.assert_allclose(found["model"][: af.ROWS], again, atol=1e-9)


def test_an_incident_does_not_become_the_model() -> None:
    values = np.column_stack([process("ar", np.random.default_rng(seed)) for seed in range(4)])
    hurt = values.copy()
    hurt[[100, 101, 300], :] += 60
    clean, found = arima_fit.fit(ask(values)), arima_fit.fit(ask(hurt))
    assert found["fitted"].all()
    np.testing.assert_allclose(_impulse(found["model"]), _impulse(clean["model"]), atol=0.12)
    assert (found["variance"] < 2).all()
    assert (found["variance"] > clean["variance"] * 1.1).all(), "the tail belongs to the noise"


def _impulse(model: NDArray[Any]) -> NDArray[Any]:
    """Weights of the last three values in the forecast, however the model is parameterised."""
    table = model[: af.ROWS].copy()
    table[af.STATE] = 0
    table[af.SETTLED] = table[af.FACTOR] = 1
    af.advance(table, np.ones(table.shape[1]))
    weights = [af.expected(table)]
    for _ in range(2):
        af.advance(table, np.full(table.shape[1], np.nan))
        weights.append(af.expected(table))
    return np.stack(weights)


def test_odd_series_are_fitted_or_left_alone_but_never_break_the_others() -> None:
    rng = np.random.default_rng(0)
    odd = {
        "good": process("ar", rng),
        "empty": np.full(ROWS, np.nan),
        "short": np.r_[np.full(ROWS - 10, np.nan), np.arange(10.0)],
        "gappy": np.where(rng.random(ROWS) < 0.8, np.nan, 1.0),
        "constant": np.full(ROWS, 7.0),
        "zero": np.zeros(ROWS),
        "one spike": np.where(np.arange(ROWS) == 99, 5.0, 0.0),
        "counts": rng.poisson(0.05, ROWS).astype(float),
        "step": np.where(np.arange(ROWS) < 250, 0.0, 1e6),
        "ramp": np.arange(ROWS) * 1e7,
        "huge": rng.standard_normal(ROWS) * 1e37,
        "tiny": rng.standard_normal(ROWS) * 1e-37,
        "alternating": np.resize([1.0, -1.0], ROWS),
        "half": np.where(rng.random(ROWS) < 0.4, np.nan, process("ar", rng)),
    }
    found = arima_fit.fit(ask(np.column_stack(list(odd.values()))))
    fitted = dict(zip(odd, found["fitted"].tolist(), strict=True))
    assert {name for name, yes in fitted.items() if not yes} == {"empty", "short", "gappy"}
    assert np.isfinite(found["model"]).all()
    assert (found["variance"] >= 0).all()
    constant = found["model"][:, list(odd).index("constant")]
    assert constant[MEAN] == 7
    assert found["variance"][list(odd).index("constant")] == 0


def test_models_are_stable() -> None:
    rng = np.random.default_rng(5)
    values = np.cumsum(np.cumsum(rng.standard_normal((ROWS, 20)), axis=0), axis=0)
    model = arima_fit.fit(ask(values))["model"]
    for phi, theta in zip(model[af.PHI].T, model[af.THETA].T, strict=True):
        assert np.abs(np.roots([1, *-phi])).max(initial=0) <= arima_fit.LARGEST_AR + 1e-9
        assert np.abs(np.roots([1, *theta])).max(initial=0) <= arima_fit.LARGEST_MA + 1e-9


def test_a_season_is_used_where_it_helps() -> None:
    rng = np.random.default_rng(0)
    hours = np.arange(24 * 10)
    wave = 10 * np.sin(hours * 2 * np.pi / 24) ** 5
    values = np.column_stack([wave + rng.standard_normal(len(hours)), rng.standard_normal(len(hours))])
    found = arima_fit.fit(ask(values, step_seconds=3600.0))
    shares = found["model"][SEASON]
    assert shares[0, 0] > 0.5
    assert not shares[:, 1].any()


def test_fits_are_the_same_in_any_company() -> None:
    values = np.column_stack([process("ar", np.random.default_rng(seed)) for seed in range(70)])
    together = arima_fit.fit(ask(values))
    alone = arima_fit.fit(ask(values[:, 66:67]))
    np.testing.assert_allclose(alone["model"][:, 0], together["model"][:, 66], rtol=1e-9, atol=1e-12)


def test_one_detector_that_fails_does_not_cost_the_other_its_models() -> None:
    values = process("ar", np.random.default_rng(0))[:, np.newaxis]
    request = {**prefixed(ask(values), "arima"), "iforest.count": np.asarray(1), "prophet.x": np.zeros(1)}
    answer = solve(unpack(pack(request)))
    assert part(answer, "arima")["fitted"].tolist() == [True]
    assert b"KeyError" in part(answer, "iforest")["error"].tobytes()
    assert b"prophet" in part(answer, "prophet")["error"].tobytes()


def test_arrays_travel_without_pickle() -> None:
    arrays = {"a.b": np.arange(3.0), "a.c": np.asarray(2), "names": text_array(["ü", [["x", ""]]])}
    found = unpack(pack(arrays))
    assert part(found, "a").keys() == {"b", "c"}
    assert text_of(found["names"]) == ["ü", [["x", ""]]]
    with pytest.raises(ValueError, match="Python objects: bad"):
        pack({"bad": np.array([{}])})
    for content in (b"", b"nonsense", pack(arrays)[:-40]):
        with pytest.raises(ValueError, match="no arrays"):
            unpack(content)
