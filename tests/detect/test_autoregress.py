"""The forecaster: what it must be able to forecast, and that it looks at the past alone."""

import numpy as np

from aiops.detect.autoregress import Autoregression


def residuals(rows: np.ndarray, interval: float = 3600.0, known: np.ndarray | None = None) -> np.ndarray:
    model, parts, done = Autoregression(rows.shape[1], interval), [], 0
    known = np.ones(rows.shape, bool) if known is None else known
    while done < len(rows):
        count = min(model.rows_to_fit(), len(rows) - done)
        parts.append(model.push(rows[done : done + count], known[done : done + count]))
        done += count
    return np.concatenate(parts)


def test_an_autoregressive_series_leaves_only_its_innovations() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(3000)
    series = np.zeros(3000)
    for row in range(2, 3000):
        series[row] = 1.2 * series[row - 1] - 0.5 * series[row - 2] + noise[row]
    left = residuals(series[:, None], interval=1.0)[1000:, 0]
    assert np.sqrt(np.mean((left - noise[1000:]) ** 2)) < 0.15
    assert np.std(left) < 1.08


def test_a_daily_pattern_is_forecast_after_some_days() -> None:
    rng = np.random.default_rng(2)
    pattern = 10 * rng.standard_normal(24).cumsum()
    rows = np.tile(np.repeat(pattern, 5), 20)[:, None] + 0.1 * rng.standard_normal((24 * 5 * 20, 1))
    with_day = residuals(rows, interval=86400 / 120)[1200:]
    without = residuals(rows, interval=1.0)[1200:]
    assert np.std(with_day) < 0.8 * np.std(without)


def test_unknown_and_constant_columns_leave_nothing() -> None:
    rng = np.random.default_rng(3)
    rows = np.stack([np.full(500, 7.0), rng.standard_normal(500)], axis=1)
    known = np.ones(rows.shape, bool)
    known[200:300, 1] = False
    rows[200:300, 1] = rows[199, 1]
    left = residuals(rows, known=known)
    assert not left[:, 0].any()
    assert not left[200:300, 1].any()
    assert np.isfinite(left).all()


def test_columns_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((700, 3)).cumsum(axis=0)
    alone = residuals(rows[:, 1:2])
    np.testing.assert_allclose(residuals(rows)[:, 1:2], alone, rtol=1e-7, atol=1e-9)
