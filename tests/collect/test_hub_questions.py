"""Few queries, none too long, none too large."""

import json
import re
from itertools import pairwise
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.hub_questions import NAMES_LENGTH, Questions, counts, narrowed, packed, questions, selector

NAMES = st.text("abc:_", min_size=1, max_size=60)


def test_a_selector_has_the_names_the_jobs_and_what_the_user_wants() -> None:
    assert selector(("up",), "{}") == '{__name__=~"up"}'
    wide = selector(("a:b", "c"), ' {cluster="x", zone!="y",} ', ("llm", 'o.d-d"'))
    assert wide == r'{__name__=~"a:b|c",job=~"llm|o\\.d\\-d\"",cluster="x", zone!="y"}'


@given(st.dictionaries(NAMES, st.integers(0, 100), max_size=200))
def test_parts_keep_every_name_once_and_their_bounds(sizes: dict[str, int]) -> None:
    parts = list(packed(sizes, 100))
    assert [name for part in parts for name in part] == list(sizes)
    for part in parts:
        assert sum(sizes[name] for name in part) <= 100
        assert len("|".join(part)) <= NAMES_LENGTH
    for one, other in pairwise(parts):
        together = (*one, other[0])
        assert sum(sizes[name] for name in together) > 100 or len("|".join(together)) > NAMES_LENGTH - 1


def test_a_metric_that_is_too_large_is_left_out_and_named() -> None:
    sizes = {("llm", "a"): 60, ("llm", "b"): 60, ("llm", "c"): 101, ("other", "a"): 1000}
    found = questions({"llm": ["a", "b", "c"]}, sizes, "{}", 100)
    assert found.up == '{__name__=~"up",job=~"llm"}'
    assert found.pages == ('{__name__=~"a",job=~"llm"}', '{__name__=~"b",job=~"llm"}')
    assert found.left_out == ("c has 101 series, more than max_series; narrow the selector",)
    assert questions({}, {}, "{}", 100) == Questions()


def test_with_very_many_jobs_all_are_asked_and_counted() -> None:
    jobs = [f"job-number-{place}" for place in range(200)]
    sizes = {(job, "a"): 1 for job in (*jobs, "other")}
    found = questions(dict.fromkeys(jobs, ("a",)), sizes, "{}", 200)
    assert found.up == '{__name__=~"up"}'
    assert found.left_out, "the series of others come along, so they count"


def test_every_query_fits_into_a_url() -> None:
    names = [f"vllm:some_metric_with_a_long_name_number_{place}_seconds_bucket" for place in range(1000)]
    asked = list(counts(names, '{cluster="x"}'))
    assert sum(len(re.findall("vllm:", query)) for query in asked) == len(names)
    assert max(len(quote(query, safe="")) for query in asked) < 7000


def test_matchers_are_narrowed_to_instances_in_parts_that_fit() -> None:
    places = [f"10.0.{number // 250}.{number % 250}:8000" for number in range(300)]
    parts = list(narrowed('{job="x",}', places))
    listed = [json.loads(re.fullmatch(r'\{job="x",instance=~(".*")\}', part)[1]) for part in parts]  # type: ignore[index]
    for place in places:
        assert sum(bool(re.fullmatch(one, place)) for one in listed) == 1
    assert not any(re.fullmatch(one, "10x0.0.1:8000") for one in listed)
    assert list(narrowed("{ }", [""])) == ['{instance=~""}']
    assert list(narrowed("{}", [])) == []
    name = ("vllm:some_metric_with_a_long_name_number_100_seconds_bucket",)
    longest = [part for query in (selector(name * 50, "{}", ["j" * 900]),) for part in narrowed(query, places)]
    assert max(len(quote(query, safe="")) for query in longest) < 7500
