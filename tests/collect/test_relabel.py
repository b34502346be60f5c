import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aiops.collect.relabel import Dropped, RelabelRule, relabel, shard_hash
from aiops.kit.regex import ValueTooLong

LABELS = {"a": "foo", "b": "bar", "c": "Baz-7", "__meta_pod_label_app": "vllm", "__meta_pod_label_x": "y"}

A = {"source_labels": ["a"]}
AB = {"source_labels": ["a", "b"]}
# (rule, what becomes of LABELS): only the differences are written; None = dropped.
CASES: list[tuple[dict[str, Any], dict[str, str] | None]] = [
    ({**A, "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"}, {"d": "choo-choo"}),
    ({**AB, "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"}, {"a": "boobam"}),
    ({**AB, "separator": "-", "target_label": "d"}, {"d": "foo-bar"}),
    ({**A, "regex": "oo", "target_label": "d"}, {}),
    ({**A, "regex": "o$", "target_label": "d"}, {}),
    ({"source_labels": ["missing"], "target_label": "a"}, {"a": ""}),
    ({**A, "regex": "f(.*)", "target_label": "a", "replacement": ""}, {"a": ""}),
    ({**A, "regex": "(f)oo", "target_label": "d", "replacement": "$1x"}, {}),
    ({**A, "regex": "(f)oo", "target_label": "d", "replacement": "$2-$"}, {"d": "-$"}),
    ({**A, "regex": "(?P<first>f)oo", "target_label": "d", "replacement": "${first}$first$$"}, {"d": "ff$"}),
    ({**AB, "regex": "(foo);(bar)", "target_label": "x_${1}", "replacement": "$2"}, {"x_foo": "bar"}),
    ({"source_labels": ["c"], "target_label": "${1}", "replacement": "v"}, {}),
    ({"target_label": "d", "replacement": "fixed"}, {"d": "fixed"}),
    ({**A, "regex": "foo", "action": "keep"}, {}),
    ({**A, "regex": "fo", "action": "keep"}, None),
    ({**A, "regex": ".*o.*", "action": "drop"}, None),
    ({"source_labels": ["b"], "regex": ".*o.*", "action": "drop"}, {}),
    ({"source_labels": ["missing"], "regex": "", "action": "drop"}, None),
    ({"regex": "__meta_pod_label_(.+)", "action": "labelmap"}, {"app": "vllm", "x": "y"}),
    ({"regex": "__meta_pod_label_(.+)", "replacement": "p_${1}", "action": "labelmap"}, {"p_app": "vllm", "p_x": "y"}),
    ({"regex": "[ab]", "action": "labeldrop"}, {"a": "", "b": ""}),
    ({"regex": "__.+|[ab]", "action": "labelkeep"}, {"c": ""}),
    ({"source_labels": ["c"], "target_label": "d", "action": "lowercase"}, {"d": "baz-7"}),
    ({"source_labels": ["c", "a"], "target_label": "d", "action": "uppercase"}, {"d": "BAZ-7;FOO"}),
    ({**A, "target_label": "shard", "modulus": 8, "action": "hashmod"}, {"shard": "0"}),
    ({"source_labels": ["c"], "target_label": "shard", "modulus": 1000, "action": "hashmod"}, {"shard": "640"}),
]  # fmt: skip
EQUAL_CASES: list[tuple[dict[str, Any], dict[str, str] | None]] = [  # newer than the Prometheus that tests may find
    ({"source_labels": ["a"], "target_label": "b", "action": "keepequal"}, None),
    ({"source_labels": ["a"], "target_label": "a", "action": "keepequal"}, {}),
    ({"source_labels": ["a"], "target_label": "a", "action": "dropequal"}, None),
    ({"source_labels": ["a"], "target_label": "b", "action": "dropequal"}, {}),
    ({"source_labels": ["missing"], "target_label": "gone", "action": "dropequal"}, None),
]


def rule(**settings: Any) -> RelabelRule:
    return RelabelRule.model_validate(settings)


def result(settings: dict[str, Any], labels: Mapping[str, str] = LABELS) -> dict[str, str] | None:
    changed = relabel(labels, [rule(**settings)])
    return None if isinstance(changed, Dropped) else changed


@pytest.mark.parametrize(("settings", "difference"), CASES + EQUAL_CASES)
def test_actions(settings: dict[str, Any], difference: dict[str, str] | None) -> None:
    expected = None if difference is None else {k: v for k, v in {**LABELS, **difference}.items() if v}
    assert result(settings) == expected


@pytest.mark.real
def test_prometheus_says_the_same(real_program: Callable[[str], str], tmp_path: Path) -> None:
    """All cases, by the relabelling of Prometheus itself, and more values for the hash."""
    hashes = [
        ({"source_labels": ["a"], "target_label": "n", "modulus": modulus, "action": "hashmod"}, {})
        for modulus in (2, 7, 4096, 2**32, 2**64 - 1)
    ]
    static = [{"targets": ["h:1"], "labels": LABELS}]
    jobs = [
        {"job_name": str(number), "static_configs": static, "relabel_configs": [settings]}
        for number, (settings, _) in enumerate(CASES + hashes)
    ]
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": jobs}))
    for number, (settings, _) in enumerate(CASES + hashes):
        output = subprocess.run(
            [real_program("promtool"), "check", "service-discovery", "--timeout=100ms", str(config), str(number)],
            check=True,
            capture_output=True,
        ).stdout
        (target,) = json.loads(output)
        ours = result(settings, {"job": str(number), **target["discoveredLabels"]}) or {}
        theirs = dict(target.get("labels") or {})
        theirs.pop("instance", None)  # set after relabelling, as __meta_ labels are removed after it
        assert {k: v for k, v in ours.items() if not k.startswith("__meta_")} == theirs, settings


def test_rules_apply_in_order_and_the_reason_names_the_rule() -> None:
    rules = [
        rule(source_labels=["a"], target_label="t", replacement="$1!"),
        rule(source_labels=["t"], regex="foo!", action="drop"),
        rule(target_label="never", replacement="x"),
    ]
    assert relabel(LABELS, rules) == Dropped("rule 2 (drop): 'foo!' matches 'foo!'")
    assert relabel(LABELS, []) == LABELS


@pytest.mark.parametrize(
    "settings",
    [
        {"action": "replace"},
        {"action": "hashmod", "target_label": "a"},
        {"action": "lowercase"},
        {"action": "keepequal", "source_labels": ["a"]},
        {"action": "replace", "target_label": "a-b"},
        {"action": "uppercase", "target_label": "$1"},
        {"action": "keep", "regex": "(a+)+$"},
        {"action": "keep", "regex": "(a"},
        {"action": "explode", "target_label": "a"},
        {"action": "keep", "regexp": "a"},
    ],
)
def test_wrong_rules_are_refused_at_load(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**settings)


def test_a_catastrophic_regex_is_refused_with_a_clear_error() -> None:
    with pytest.raises(ValidationError, match="exponential time"):
        rule(source_labels=["a"], regex="(a+)+$", action="keep")


def test_a_value_too_long_to_judge_is_an_error() -> None:
    with pytest.raises(ValueTooLong):
        relabel({"a": "x" * 2000}, [rule(source_labels=["a"], regex=".*y", action="drop")])


def test_input_is_not_changed() -> None:
    labels = dict(LABELS)
    relabel(labels, [rule(regex=".*", action="labeldrop")])
    assert labels == LABELS


@given(st.text(min_size=1, max_size=20), st.integers(1, 7))
def test_hashmod_gives_each_target_to_exactly_one_shard(address: str, shards: int) -> None:
    hashed = rule(source_labels=["__address__"], target_label="s", modulus=shards, action="hashmod")
    keepers = [rule(source_labels=["s"], regex=str(shard), action="keep") for shard in range(shards)]
    kept = [not isinstance(relabel({"__address__": address}, [hashed, keeper]), Dropped) for keeper in keepers]
    assert kept == [shard == shard_hash(address) % shards for shard in range(shards)]
