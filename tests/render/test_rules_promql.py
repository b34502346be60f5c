"""What the writer of PromQL says about sources, selectors and bucket bounds."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.render.rules_pack import Labels, Record, Stat
from aiops.render.rules_promql import Writer, at_most, matchers, quoted, together
from aiops.signals.profile import Reduce, parse_profile

LABELS = Labels(replica=("job", "instance"), model=("job",), gpu=("job", "instance", "gpu"), rename={"gpu": "uuid"})
HEAD = "name: x\ntitle: X\ndetect: {prefixes: [x_]}\n"


def writer(roles: str, head: str = "", prefix: str = "") -> Writer:
    return Writer(parse_profile(f"{HEAD}{head}roles: {{{roles}}}", "x.yaml"), LABELS, ("bare_*",), prefix)


def expr(roles: str, signal: str, head: str = "", **record: object) -> str | None:
    return writer(roles, head).record(Record.model_validate({"record": "replica:x:sum", "signals": [signal], **record}))


BY = "by (job, instance, pool)"


@pytest.mark.parametrize(
    ("roles", "signal", "expected"),
    [
        ("running: x_run", "running", f"sum {BY} (x_run)"),
        ("errors: x_err", "errors", f"sum {BY} (rate(x_err_total[5m]))"),
        ("errors: bare_err", "errors", f"sum {BY} (rate(bare_err[5m]))"),
        ("tokens_in: x_len_sum", "tokens_in", f"sum {BY} (rate(x_len_sum[5m]))"),
        ("kv_use: {metric: x_kv, scale: percent}", "kv_use", f"avg {BY} (x_kv) * 0.01"),
        ("ttft: x_ttft", "ttft", f"sum {BY} (rate(x_ttft_count[5m]))"),
        ("replicas: {metric: x_up, as: count}", "replicas", f"count {BY} (x_up)"),
        ("ttft: {metric: x_ttft, as: gauge}", "ttft", None),
        ("prefix_hit: {metric: x_hit, as: ratio, over: x_ask}", "prefix_hit", None),
        (
            "running: [x_new, x_old]",
            "running",
            f"sum {BY} (x_new)\nor\nsum {BY} (x_old)",
        ),
        (
            "max_running: {metric: x_one, as: product, times: x_many}",
            "max_running",
            f"sum {BY} (x_one) * sum {BY} (x_many)",
        ),
        (
            "running: {metric: x_all, as: difference, minus: [x_queued, x_held]}",
            "running",
            f"clamp_min(sum {BY} (x_all) - sum {BY} (x_queued) - sum {BY} (x_held), 0)",
        ),
        (
            "sleeping: {metric: x_awake, scale: -1, offset: 1}",
            "sleeping",
            f"1 + (max {BY} (x_awake) * -1)",
        ),
    ],
)
def test_each_arithmetic(roles: str, signal: str, expected: str | None) -> None:
    assert expr(roles, signal) == expected


def test_mean_of_a_histogram_and_of_two_counters() -> None:
    assert expr("ttft: {metric: x_t_ms, scale: ms}", "ttft", stat=Stat.MEAN) == (
        f"(sum {BY} (rate(x_t_ms_sum[5m])) / sum {BY} (rate(x_t_ms_count[5m]))) * 0.001"
    )
    assert expr("e2e: {metric: x_sum_us, as: mean, count: x_n}", "e2e", stat=Stat.MEAN) == (
        f"sum {BY} (rate(x_sum_us_total[5m])) / sum {BY} (rate(x_n_total[5m]))"
    )


def test_labels_are_renamed_and_copies_are_not_added_up() -> None:
    head = "entity: {labels: {model_name: [model, name]}}\ncopies: [rank]\n"
    found = expr("running: x_run", "running", head)
    assert found == (
        "sum by (job, instance, pool, model_name) (label_replace(label_replace("
        'max without (rank) (x_run), "model_name", "$1", "name", "(.+)"), "model_name", "$1", "model", "(.+)"))'
    )


def test_a_spelling_alone_or_all_in_turn() -> None:
    record = Record(record="replica:x:sum", signals=("running",))
    aliases = "aliases: {x_: [ray_x_]}\n"
    assert writer("running: x_run", aliases).record(record) == f"sum {BY} (x_run)\nor\nsum {BY} (ray_x_run)"
    assert writer("running: x_run", aliases, "ray_x_").record(record) == f"sum {BY} (ray_x_run)"


def test_terms_with_the_same_labels_are_kept_apart() -> None:
    assert together(["sum(a)"], ("job",)) == "sum(a)"
    assert together(["max(a)", "max(b)"], ("job",), Reduce.MAX) == (
        'max by (job) (\n  max(a)\n  or\n  label_replace(max(b), "part", "1", "", "")\n)'
    )


def test_a_shared_source_needs_a_page_to_belong_to() -> None:
    shared = "start_time: {metric: process_start_time_seconds, shared: true}"
    with pytest.raises(ValueError, match="x: a shared source needs 'running'"):
        expr(shared, "start_time")
    assert expr(f"{shared}, running: x_run", "start_time") == (
        f"max {BY} (process_start_time_seconds)\nand on (job, instance)\ngroup by (job, instance) (x_run)"
    )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"a": ("x",)}, ['a="x"']),
        ({"a": ("x", "y.z")}, [r'a=~"x|y\\.z"']),
        ({"a": ("~x.*",)}, ['a=~"x.*"']),
        ({"a": ("!x", "!~y.*")}, ['a!="x"', 'a!~"y.*"']),
        ({"a": ("",), "b": ("!",)}, ['a=""', 'b!=""']),
    ],
)
def test_matchers(where: dict[str, tuple[str, ...]], expected: list[str]) -> None:
    assert matchers(where) == expected


def test_literals_are_escaped() -> None:
    assert quoted('a"b\\c') == r'"a\"b\\c"'


SHOWN = st.decimals(min_value=0, max_value=9999, places=4, allow_nan=False, allow_infinity=False)


@given(limit=SHOWN, bound=SHOWN, zeros=st.integers(0, 2))
def test_the_pattern_of_small_bounds_agrees_with_numbers(limit: Decimal, bound: Decimal, zeros: int) -> None:
    text = f"{bound:f}".rstrip("0").rstrip(".")
    if zeros:
        text += "0" * zeros if "." in text else "." + "0" * zeros
    assert bool(re.fullmatch(at_most(float(limit)), text)) == (bound <= limit)


@pytest.mark.parametrize("text", ["1e-05", "2.5e-4", "0", "0.0", "1", "1.0", "2", "2.5", "2.500"])
def test_bounds_up_to_the_limit_are_found(text: str) -> None:
    assert re.fullmatch(at_most(2.5), text)


@pytest.mark.parametrize("text", ["+Inf", "2.51", "2.5001", "3", "10", "20.1", "1e+06", ""])
def test_bounds_above_the_limit_are_not(text: str) -> None:
    assert not re.fullmatch(at_most(2.5), text)
