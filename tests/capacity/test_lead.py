"""What people say wins, then what was seen, then an assumption that says so."""

from aiops.capacity.lead import ASSUMED_SECONDS, lead_of


def test_what_people_set_wins_over_what_was_seen() -> None:
    assert lead_of(30.0, (200.0, 300.0, 250.0), 15.0) == (30.0, "set")


def test_the_longest_but_one_of_what_was_seen_and_a_scrape() -> None:
    assert lead_of(None, (200.0, 900.0, 250.0), 15.0) == (265.0, "longest but one of 3 observed starts")
    assert lead_of(None, (200.0, 300.0), 0.0) == (200.0, "longest but one of 2 observed starts")


def test_one_start_is_none() -> None:
    for starts in ((), (900.0,)):
        seconds, why = lead_of(None, starts, 15.0)
        assert seconds == ASSUMED_SECONDS
        assert why == f"assumed: {len(starts)} starts observed, needs 2"
