"""Stored samples become the pages of the scrapes that brought them."""

import math
from collections.abc import Iterable

import numpy as np

from aiops.collect.hub_pages import Pages, Scrape
from aiops.collect.promapi import Samples

LLM = {"job": "llm", "instance": "a:1"}


def series(name: str, *samples: tuple[float, float], **labels: str) -> Samples:
    return Samples({"__name__": name, **LLM, **labels}, tuple(at for at, _ in samples), tuple(v for _, v in samples))


def turn(pages: Pages, up: Iterable[Samples], answer: Iterable[Samples] = ()) -> list[Scrape]:
    past = list(up)
    there = [Samples(one.labels, one.times[-1:], one.values[-1:]) for one in past]
    if pages.begin(there, past) is None:
        return []
    pages.add(answer)
    return pages.end()


def shown(scrape: Scrape) -> dict[str, float]:
    assert scrape.page is not None
    return {
        one.name + "".join(f" {name}={value}" for name, value in one.labels): value
        for one, value in zip(scrape.page.layout.samples, scrape.page.values.tolist(), strict=True)
    }


def test_every_scrape_is_read_once_and_what_it_did_not_show_is_not_there() -> None:
    pages = Pages()
    first = turn(pages, [series("up", (10, 1), (20, 1))], [series("a", (10, 1), (20, 2)), series("b", (10, 7))])
    assert [(one.at, shown(one)) for one in first] == [(20.0, {"a": 2.0})], "only the newest of what was there before"
    assert turn(pages, [series("up", (10, 1), (20, 1))]) == [], "an old value is no fresh sample"
    later = turn(
        pages,
        [series("up", (10, 1), (20, 1), (30, 1), (40, 0), (50, 1))],
        [series("a", (20, 2), (30, 2), (50, 0)), series("b", (30, math.nan))],
    )
    assert [one.at for one in later] == [30.0, 40.0, 50.0]
    assert later[1].page is None, "it was down then"
    np.testing.assert_equal(shown(later[0]), {"a": 2.0, "b": math.nan})
    assert shown(later[2]) == {"a": 0.0}
    assert pages.spacings == {tuple(sorted(LLM.items())): 10.0}


def test_a_layout_stays_the_same_object_while_its_series_stay() -> None:
    pages = Pages()
    (one,) = turn(pages, [series("up", (10, 1))], [series("a", (10, 1)), series("b", (10, 1))])
    (two,) = turn(pages, [series("up", (10, 1), (20, 1))], [series("b", (20, 3)), series("a", (20, 2))])
    (three,) = turn(pages, [series("up", (20, 1), (30, 1))], [series("a", (30, 2))])
    assert one.page is not None
    assert two.page is not None
    assert three.page is not None
    assert one.page.layout is two.page.layout
    assert shown(two) == {"a": 2.0, "b": 3.0}
    assert three.page.layout is not two.page.layout


def test_labels_of_the_target_leave_the_page_and_hidden_ones_come_back() -> None:
    up = series("up", (10, 1), pod="p-1", cluster="x")
    own = series("a", (10, 1), pod="p-1", cluster="x", exported_pod="other", exported_kind="k", model="m")
    (scrape,) = turn(Pages(), [up], [own])
    assert shown(scrape) == {"a exported_kind=k model=m pod=other": 1.0}
    assert dict(scrape.target) == {**LLM, "pod": "p-1", "cluster": "x"}


def test_targets_that_differ_in_labels_of_the_storage_only_are_kept_apart() -> None:
    ups = [series("up", (10, 1), replica=name) for name in ("x", "y")]
    answer = [series("a", (10, 1), replica="x"), series("a", (10, 2), replica="y"), series("a", (10, 3), replica="z")]
    found = {dict(one.target)["replica"]: shown(one) for one in turn(Pages(), ups, answer)}
    assert found == {"x": {"a": 1.0}, "y": {"a": 2.0}}


def test_a_metric_relabelling_that_took_a_label_of_the_target_away_loses_nothing() -> None:
    (scrape,) = turn(Pages(), [series("up", (10, 1), pod="p-1")], [series("a", (10, 1))])
    assert shown(scrape) == {"a": 1.0}


def test_a_target_that_is_gone_is_forgotten_and_a_turn_that_broke_off_is_read_again() -> None:
    pages = Pages()
    turn(pages, [series("up", (10, 1))], [series("a", (10, 1))])
    past = [series("up", (10, 1), (20, 1))]
    assert pages.begin(past, past) == 20.0  # and the answer never came
    (again,) = turn(pages, past, [series("a", (20, 2))])
    assert shown(again) == {"a": 2.0}
    assert pages.begin([], past) is None, "the instant vector leaves out who is gone"
    assert pages.end() == []
    assert pages.spacings == {}


def test_a_known_target_stays_while_the_server_lists_it_also_when_it_was_not_scraped_lately() -> None:
    pages = Pages()
    turn(pages, [series("up", (10, 1), (20, 1))], [series("a", (20, 1))])
    assert pages.begin([series("up", (300, 1))], []) is None
    assert list(pages.spacings.values()) == [10.0]
    (later,) = turn(pages, [series("up", (400, 1))], [series("a", (20, 1), (400, 2))])
    assert shown(later) == {"a": 2.0}
    assert pages.begin([series("up", (500, 1), pod="new")], []) is None, "a new one waits for its first scrape"
    assert pages.spacings == {}


def test_a_sample_between_two_scrapes_belongs_to_the_next() -> None:
    pages = Pages()
    turn(pages, [series("up", (10, 1))], [series("a", (10, 1))])
    found = turn(pages, [series("up", (10, 1), (20, 1), (30, 1))], [series("a", (9, 0), (15, 5), (25, 6), (35, 7))])
    assert [shown(one) for one in found] == [{"a": 5.0}, {"a": 6.0}], "what came after the last waits for its scrape"
