"""The ensemble: causal to the bit, independent of blocks, calibrated on plain noise, sane on odd input."""

import numpy as np
import pytest

from aiops.detect import ensemble
from aiops.detect.ensemble import VOTES, WARM_UP_ROWS, Ensemble


def wave(rows: int, channels: int = 1, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    day = 10 * np.sin(2 * np.pi * np.arange(rows) / 288)[:, None]
    return day + rng.standard_normal((rows, channels)) + 50


@pytest.mark.parametrize("channels", [1, 5])
def test_rows_that_follow_change_no_bit(channels: int) -> None:
    rows = wave(1500, channels)
    rows[700:720] += 30
    rows[300:340, 0] = np.nan
    full = Ensemble(channels, 300.0).push(rows)
    for end in (1, 29, 31, 99, 100, 101, 350, 711, 1234):
        part = Ensemble(channels, 300.0).push(rows[:end])
        np.testing.assert_array_equal(part.score, full.score[:end])
        for name in VOTES:
            np.testing.assert_array_equal(part.votes[name], full.votes[name][:end])


def test_one_by_one_is_the_same_as_at_once() -> None:
    rows = wave(900, 2)
    rows[500, 0] = np.nan
    ensemble = Ensemble(2, 300.0)
    single = np.concatenate([ensemble.push(rows[row : row + 1]).score for row in range(len(rows))])
    np.testing.assert_allclose(single, Ensemble(2, 300.0).push(rows).score, rtol=1e-6, atol=1e-9)


def test_noise_keeps_the_budget_and_a_jump_alerts() -> None:
    fired = 0
    for seed in range(5):
        rows = wave(4 * 2016, seed=seed)
        rows[6000] += 25
        score = Ensemble(1, 300.0).push(rows).score
        assert score[6000] >= 1
        score[5999:6010] = 0
        fired += int((score[2016:] >= 1).sum())
    # 15 series-weeks after the first.
    assert fired <= 15 * 1.5


def test_a_larger_budget_scores_higher() -> None:
    rows = wave(3000)
    few, many = (Ensemble(1, 300.0, budget).push(rows).score for budget in (0.1, 10.0))
    above = many >= 0.75
    assert above.any()
    assert (many[above] > few[above]).all()


def test_an_incident_glows_below_the_threshold() -> None:
    rows = wave(3000)
    rows[2500:2600] += 40
    score = Ensemble(1, 300.0).push(rows).score
    assert score[2500] >= 1
    assert np.median(score[2500:2600]) > 2 * np.median(score[2000:2500])


def test_unknown_rows_have_no_score_and_teach_nothing() -> None:
    rows = wave(2000)
    rows[1000:1500] = np.nan
    scored = Ensemble(1, 300.0).push(rows)
    assert np.isnan(scored.score[:WARM_UP_ROWS]).all()
    assert np.isnan(scored.score[1000:1500]).all()
    assert np.isfinite(scored.score[1500:]).all()
    assert (scored.score[1560:] < 1).all()


@pytest.mark.parametrize("level", [0.0, 1e-12, 1e12])
def test_a_constant_series_is_calm_and_its_first_change_is_not(level: float) -> None:
    rows = np.full((1000, 1), level)
    rows[800] = level + max(abs(level), 1e-3)
    score = Ensemble(1, 60.0).push(rows).score
    assert (score[WARM_UP_ROWS:800] < 1).all()
    assert score[800] > 1


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_do_not_matter(factor: float) -> None:
    rows = wave(1200)
    np.testing.assert_allclose(
        Ensemble(1, 300.0).push(rows * factor).score, Ensemble(1, 300.0).push(rows).score, rtol=1e-4, atol=1e-6
    )


def test_no_rows_give_no_scores() -> None:
    assert len(Ensemble(3, 60.0).push(np.empty((0, 3))).score) == 0


def test_what_comes_again_soon_counts_half(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = wave(3000)
    rows[[2500, 2530, 2700]] += 30
    halved = Ensemble(1, 300.0).push(rows).score
    monkeypatch.setattr(ensemble, "REPEATED", 1.0)
    plain = Ensemble(1, 300.0).push(rows).score
    assert plain[2530] >= 1
    assert halved[2530] == pytest.approx(0.75 + (plain[2530] - 0.75) / 2)
    np.testing.assert_array_equal(halved[:2501], plain[:2501])
    assert halved[2500] == plain[2500] >= 1


def test_several_channels_together_count_for_more_than_one_far_out() -> None:
    rows = wave(3000, 8)
    together, alone, farther = rows.copy(), rows.copy(), rows.copy()
    together[2500, :3] += 30
    alone[2500, 0] += 90
    farther[2500, 0] += 400
    scored = [Ensemble(8, 300.0).push(each) for each in (together, alone, farther)]
    assert scored[0].votes["forecast"][2500] > scored[1].votes["forecast"][2500]
    assert scored[0].score[2500] > 1 > scored[1].score[2500] > 0.75
    assert scored[2].score[2500] > 1


def test_usual_values_in_an_unusual_order_are_seen_by_transition() -> None:
    rows = np.tile([10.0, 20.0, 30.0], 700)[:, None] + 0.1 * np.random.default_rng(4).standard_normal((2100, 1))
    rows[[2000, 2001]] = rows[[2001, 2000]]
    votes = Ensemble(1, 60.0).push(rows).votes
    assert votes["transition"][2000] > 1.5 * np.nanmax(votes["transition"][1000:2000])
    assert votes["extreme"][2000] < 0.5


@pytest.mark.parametrize("huge", [1e200, -1e307])
def test_a_value_near_the_end_of_the_numbers_is_an_alert_and_no_error(huge: float) -> None:
    rows = wave(600)
    rows[300] = huge
    score = Ensemble(1, 300.0).push(rows).score
    assert score[300] > 1
    assert np.isfinite(score[WARM_UP_ROWS:]).all()
