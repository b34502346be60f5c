"""The reader of queries that the proof against a real Prometheus leans on."""

import pytest

from tests.render.grafana_queries import expects, selectors, split


def test_split_leaves_brackets_and_texts_alone() -> None:
    assert split('a{x=" or "} or (b or c)\nor\nd', "or") == ['a{x=" or "}', "(b or c)", "d"]
    assert split('label_replace(a{}, "x", "", "", "")', ",") == ['label_replace(a{}, "x", "", "", "")']
    assert split("a{} / 1e-09", "/", "-") == ["a{}", "1e-09"]


def test_selectors_are_found_with_odd_texts() -> None:
    assert selectors('rate(a:b{x="}\\"", y=~".+"}[5m]) / c{}') == [("a:b", 'x="}\\"", y=~".+"'), ("c", "")]


@pytest.mark.parametrize(
    ("expr", "there", "must"),
    [
        ("a{}", "a", True),
        ("a{}", "", False),
        ("sum by (x) (a{} or b{})", "b", True),
        ("sum(rate(a{}[5m])) / sum(rate(b{}[5m]))", "a", False),
        ("(a{} or c{}) / (b{} or d{})", "cb", True),
        ("a{} > 0", "a", False),
        ("(a{} > 0) or b{}", "b", True),
        ("time() - a{}", "a", True),
        ("0.5 * a{}", "a", True),
        ("1 + a{} * -1", "a", True),
        ("a{} and on (x, y) b{}", "a", False),
        ("a{} and on (x, y) b{}", "ab", True),
        ('label_replace(a{}, "x", "$1", "y", "(.+)")', "a", True),
        ("histogram_quantile(0.5, sum by (le) (rate(a{}[5m])))", "a", True),
        ("sum(increase(a{}[5m])) or vector(0)", "", True),
        ("a{} / 1e-09", "a", True),
    ],
)
def test_what_a_query_must_find(expr: str, there: str, must: bool) -> None:
    assert expects(expr, lambda selector: selector[0] in there) is must
