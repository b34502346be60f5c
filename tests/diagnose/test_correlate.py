from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.diagnose.correlate import Alert, Ranking, rank
from aiops.diagnose.deviation import Panel
from aiops.diagnose.record import Direction
from tests.diagnose.panels import CALLS, LEVELS, calm, moved

SLOW = Alert("front", "latency_avg_s")


def order(ranking: Ranking) -> list[str]:
    return list(dict.fromkeys(one.entity for one in ranking.candidates))


def slow_index(seed: int = 0) -> Panel:
    """The index is slow; whoever calls it waits for it, per call."""
    return moved(
        calm(seed),
        ("index", "latency_avg_s", 0.2),
        ("search", "latency_avg_s", 0.192),
        ("front", "latency_avg_s", 0.16),
    )


def test_a_calm_fleet_is_not_blamed() -> None:
    for seed in range(20):
        found = rank(calm(seed), CALLS, SLOW)
        assert found.abstained, found.reason
        assert len(order(found)) == len(LEVELS)  # the order is told all the same


def test_the_deepest_callee_that_explains_the_alert_comes_first() -> None:
    found = rank(slow_index(), CALLS, SLOW)
    assert not found.abstained
    assert found.ranker == "flow"
    assert order(found)[0] == "index"
    first = found.candidates[0]
    assert (first.metric, first.direction, first.onset) == ("latency_avg_s", Direction.UP, 1_700_000_000.0)


def test_a_callee_that_sees_few_requests_does_not_explain_the_alert() -> None:
    """Paying got slower still, but forty payments do not delay six hundred pages."""
    panel = moved(slow_index(), ("pay", "latency_avg_s", 0.4))
    assert order(rank(panel, CALLS, SLOW))[0] == "index"


def test_a_caller_is_blamed_for_what_its_callees_do_not_explain() -> None:
    panel = moved(
        calm(), ("index", "latency_avg_s", 0.03), ("search", "latency_avg_s", 0.2), ("front", "latency_avg_s", 0.17)
    )
    assert order(rank(panel, CALLS, SLOW))[0] == "search"


def test_the_alerted_entity_is_blamed_when_nothing_below_it_moved() -> None:
    found = rank(moved(calm(), ("front", "latency_avg_s", 0.2)), CALLS, SLOW)
    assert order(found)[0] == "front"
    assert found.ranker == "deviation"


def test_without_calls_the_ranker_says_so() -> None:
    panel = moved(slow_index(), ("index", "cpu_percent", 60.0))
    found = rank(panel, (), SLOW)
    assert found.ranker == "deviation"
    assert order(found)[0] == "index"


def test_an_alert_is_a_symptom() -> None:
    """However far the alerted series went, something else that is out of bounds goes before it."""
    panel = moved(calm(), ("front", "latency_avg_s", 50.0), ("cart", "cpu_percent", 8.0))
    assert order(rank(panel, (), SLOW))[:2] == ["cart", "front"]


def test_a_caller_that_passes_no_requests_on_is_blamed() -> None:
    panel = moved(calm(), ("index", "requests_per_minute", -400.0))
    assert order(rank(panel, CALLS, Alert("front", "cpu_percent")))[0] == "search"


def test_while_the_alerted_number_is_calm_a_side_track_is_not_blamed() -> None:
    assert rank(moved(calm(), ("pay", "latency_avg_s", 1.0)), CALLS, SLOW).abstained
    assert not rank(moved(calm(), ("cart", "latency_avg_s", 1.0)), CALLS, SLOW).abstained


def test_an_unknown_alert_still_gives_an_order() -> None:
    found = rank(moved(calm(), ("cart", "cpu_percent", 50.0)), CALLS, Alert("nobody", "nothing"))
    assert order(found)[0] == "cart"


@settings(max_examples=40)
@given(st.permutations(["a", "b9", "z", "Front", "pay"]), st.randoms(use_true_random=False), st.integers(0, 3))
def test_names_carry_no_prior(names, random, seed: int) -> None:
    """Renaming all entities and shuffling the columns renames the answer and changes nothing else."""
    panel, alert = moved(slow_index(seed), ("pay", "cpu_percent", 4.0)), SLOW
    new = dict(zip(LEVELS, names, strict=True))
    columns = list(range(len(panel.entities)))
    random.shuffle(columns)
    renamed = replace(
        panel,
        entities=tuple(new[panel.entities[k]] for k in columns),
        metrics=tuple(panel.metrics[k] for k in columns),
        traits=tuple(panel.traits[k] for k in columns),
        reference=panel.reference[:, columns],
        window=panel.window[:, columns],
    )
    calls = [(new[a], new[b]) for a, b in CALLS]
    plain, other = rank(panel, CALLS, alert), rank(renamed, calls, Alert(new[alert.entity], alert.metric))
    assert [(new[one.entity], one.metric) for one in plain.candidates] == [
        (one.entity, one.metric) for one in other.candidates
    ]
    assert plain.abstained == other.abstained


@settings(max_examples=40)
@given(st.lists(st.sampled_from([1e-6, 1e-3, 60.0, 1e6, 1e9]), min_size=3, max_size=3), st.integers(0, 3))
def test_the_unit_of_a_metric_changes_no_rank(factors: list[float], seed: int) -> None:
    panel = moved(slow_index(seed), ("pay", "cpu_percent", 4.0))
    by_metric = dict(zip(dict.fromkeys(panel.metrics), factors, strict=True))
    factor = np.array([by_metric[metric] for metric in panel.metrics])
    scaled = replace(panel, reference=panel.reference * factor, window=panel.window * factor)
    for calls in (CALLS, ()):
        plain, other = rank(panel, calls, SLOW), rank(scaled, calls, SLOW)
        assert [(one.entity, one.metric) for one in plain.candidates] == [
            (one.entity, one.metric) for one in other.candidates
        ]
        assert plain.abstained == other.abstained
