"""The schema of profiles: what is accepted, and that every mistake names its place."""

import re
from pathlib import Path

import pytest

from aiops.signals.profile import How, Profile, Reduce, parse_profile, parse_profiles

ENGINES = Path(__file__).resolve().parents[2] / "models" / "engines"
HEAD = "name: x\ntitle: X\ndetect: {any: [x_up]}\n"


def test_the_documented_example_is_valid() -> None:
    text = (ENGINES / "README.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert parse_profile(example[1], "README").entity.labels == {"model_name": ("model_name", "model")}


@pytest.mark.parametrize("path", sorted(ENGINES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_profile_is_valid_and_named_like_its_file(path: Path) -> None:
    assert parse_profile(path.read_text(), str(path)).name == path.stem


def test_defaults_follow_the_signal() -> None:
    profile = parse_profile(
        HEAD
        + "roles: {running: a, finished: b, ttft: c, kv_use: d, sleeping: e, gpu_throttle: {metric: f, as: counter}}",
        "x.yaml",
    )
    seen = {name: (sources[0].arithmetic(name), sources[0].reduction(name)) for name, sources in profile.roles.items()}
    assert seen == {
        "running": (How.GAUGE, Reduce.SUM),
        "finished": (How.COUNTER, Reduce.SUM),
        "ttft": (How.HISTOGRAM, Reduce.SUM),
        "kv_use": (How.GAUGE, Reduce.MEAN),
        "sleeping": (How.GAUGE, Reduce.MAX),
        "gpu_throttle": (How.COUNTER, Reduce.MEAN),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[", "not valid YAML"),
        ("just text", "expected a mapping"),
        (HEAD + "roles: {no_such_signal: a}", "'no_such_signal' is no signal of the catalogue"),
        (HEAD + "roles: {running: {metric: a, colour: red}}", "roles.running.0.colour"),
        (HEAD + "roles: {ttft: {metric: a, as: mean}}", "needs 'count'"),
        (HEAD + "roles: {kv_use: {metric: a, over: b}}", "'over' of a has no meaning"),
        (HEAD + "roles: {running: {metric: a, as: histogram}}", "running is no distribution"),
        (HEAD + "roles: {ttft: {metric: a, as: counter}}", "ttft is a distribution"),
        (HEAD + "roles: {running: {metric: a, scale: furlongs}}", "'furlongs' is no scale"),
        (HEAD + 'roles: {running: {metric: a, where: {b: "~("}}}', "is no regular expression"),
        ("name: x\ntitle: X\ndetect: {none: [a]}\nroles: {running: a}", "'detect' needs at least one"),
        ("name: X y\ntitle: X\ndetect: {any: [a]}\nroles: {running: a}", "name"),
        ("name: x", "roles"),
    ],
)
def test_mistakes_name_file_place_and_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        parse_profile(text, "x.yaml")
    assert str(caught.value).startswith("x.yaml: ")


def test_order_is_priority_then_name_and_names_are_unique() -> None:
    texts = {
        name: f"name: {name}\ntitle: T\npriority: {priority}\ndetect: {{any: [a]}}\nroles: {{running: a}}"
        for name, priority in (("b", 0), ("a", 0), ("c", 9))
    }
    assert [profile.name for profile in parse_profiles(texts)] == ["c", "a", "b"]
    with pytest.raises(ValueError, match="second profile named 'a'"):
        parse_profiles({"one": texts["a"], "two": texts["a"]})


def test_shipped_sources_that_are_deprecated_say_what_replaced_them(profiles: tuple[Profile, ...]) -> None:
    texts = [s.deprecated for p in profiles for sources in p.roles.values() for s in sources if s.deprecated]
    assert all(re.search(r"now|gone|removed|successor|renamed|replaced", text) for text in texts), texts
