from typing import Any

import pytest
from pydantic import ValidationError

from aiops.collect.settings import JobSettings, ScrapeSettings
from aiops.collect.targets import MOST_MESSAGES, Found, Group, Rollouts, Target, build, reconcile
from aiops.kit.reach import Reach


def job(**settings: Any) -> JobSettings:
    return JobSettings.model_validate({"name": "j", **settings})


def found(*addresses: str, labels: dict[str, str] | None = None, **settings: Any) -> Found:
    """Targets of one job whose addresses were discovered."""
    return build([job(**settings)], {"j": [Group(addresses, labels or {}, "list", Reach.NO_METADATA)]})


def one(*addresses: str, labels: dict[str, str] | None = None, **settings: Any) -> Target:
    outcome = found(*addresses, labels=labels, **settings)
    assert outcome.problems == ()
    (target,) = outcome.targets
    return target


@pytest.mark.parametrize(
    ("written", "url", "instance"),
    [
        ("h:8000", "http://h:8000/metrics", "h:8000"),
        ("http://h:8000", "http://h:8000/metrics", "h:8000"),
        ("http://h:8000/", "http://h:8000/", "h:8000"),
        ("https://h/v1/metrics", "https://h/v1/metrics", "h"),
        ("http://h:1/m?a=b&c=d%26e", "http://h:1/m?a=b&c=d%26e", "h:1"),
        ("http://[::1]:8000/metrics", "http://[::1]:8000/metrics", "[::1]:8000"),
        ("http://169.254.1.1:80/metrics", "http://169.254.1.1/metrics", "169.254.1.1:80"),
    ],
)
def test_static_targets(written: str, url: str, instance: str) -> None:
    (target,) = build([job(targets=[written])], {}).targets
    assert target.url == url
    assert dict(target.labels) == {"job": "j", "instance": instance}
    assert target.reach is Reach.ANYWHERE


@pytest.mark.parametrize(
    "written",
    [
        "",
        "h:8000/metrics",
        "ftp://h/",
        "http://",
        "http://u:p@h/",
        "http://h:99999/",
        "http://h/?a=1&a=2",
        "http://[::1",
    ],
)
def test_bad_static_targets_are_refused_at_load(written: str) -> None:
    with pytest.raises(ValidationError):
        job(targets=[written])


def test_labels_of_target_win_over_those_of_the_job() -> None:
    settings = job(targets=[{"url": "h:1", "labels": {"pool": "a", "rack": 7}}], labels={"pool": "b", "zone": "z"})
    (target,) = build([settings], {}).targets
    assert dict(target.labels) == {"job": "j", "instance": "h:1", "pool": "a", "rack": "7", "zone": "z"}
    assert target.source == 'j/h:1{pool="a",rack="7",zone="z"}'


def test_discovered_target_with_everything_default() -> None:
    target = one("10.0.0.1:8000", interval=15, params={"x": "1 2"}, scheme="https", path="/m")
    assert target.url == "https://10.0.0.1:8000/m?x=1+2"
    assert (target.interval_seconds, target.timeout_seconds) == (15.0, 10.0)
    assert target.source == "j/10.0.0.1:8000"
    assert target.reach is Reach.NO_METADATA


def test_relabelling_reaches_everything_that_matters_and_hides_what_is_private() -> None:
    rules = [
        {"source_labels": ["__meta_pod"], "target_label": "pod"},
        {"source_labels": ["__address__"], "regex": "([^:]+):.*", "target_label": "__address__", "replacement": "$1:9"},
        {"target_label": "__scheme__", "replacement": "https"},
        {"target_label": "__metrics_path__", "replacement": "/v1/metrics"},
        {"target_label": "__param_module", "replacement": "m"},
        {"target_label": "__scrape_interval__", "replacement": "1m"},
        {"target_label": "__scrape_timeout__", "replacement": "250ms"},
        {"target_label": "job", "replacement": "renamed"},
    ]
    target = one("h:1", labels={"__meta_pod": "p-1", "__meta_other": "x", "a": "b"}, relabel=rules)
    assert target.url == "https://h:9/v1/metrics?module=m"
    assert dict(target.labels) == {"job": "renamed", "instance": "h:9", "pod": "p-1", "a": "b"}
    assert (target.interval_seconds, target.timeout_seconds) == (60.0, 0.25)
    assert target.job == "j"


def test_dropped_targets_are_counted_and_explained() -> None:
    rule = {"source_labels": ["__address__"], "regex": "a.*", "action": "drop"}
    outcome = found("a:1", "b:1", "a:2", relabel=[rule])
    assert [target.url for target in outcome.targets] == ["http://b:1/metrics"]
    assert outcome.dropped == 2
    assert "rule 1 (drop): 'a:1' matches 'a.*'" in outcome.dropped_because[0]
    assert outcome.problems == ()


@pytest.mark.parametrize(
    ("address", "labels", "settings", "why"),
    [
        ("", {}, {}, "expected host:port"),
        ("http://h:1", {}, {}, "expected host:port"),
        ("h:1/x", {}, {}, "expected host:port"),
        ("u:p@h:1", {}, {}, "expected host:port"),
        ("h:1\nX", {}, {}, "expected host:port"),
        ("h:99999", {}, {}, "out of range"),
        ("h:1", {"__scheme__": "file"}, {}, "expected http or https"),
        ("h:1", {"__metrics_path__": "m"}, {}, "does not start with"),
        ("h:1", {"__scrape_interval__": "soon"}, {}, "not a duration"),
        ("h:1", {"__scrape_interval__": "nan"}, {}, "from 1ms to 1d"),
        ("h:1", {"__scrape_interval__": "2s"}, {}, "must not exceed"),
        ("h:1", {"a-b": "x"}, {}, "not a label name"),
        ("h:1", {"a": "x" * 1025}, {}, "more than 1024 bytes"),
        ("h:1", {f"l{n}": "x" for n in range(63)}, {}, "65 labels, expected at most 64"),
        ("h:1", {"a": "x" * 2000}, {"relabel": [{"source_labels": ["a"], "regex": "y", "action": "drop"}]}, "may see"),
        ("169.254.169.254:80", {}, {}, "metadata"),
        ("[fe80::1]:80", {}, {}, "metadata"),
        ("[::ffff:169.254.169.254]:80", {}, {}, "metadata"),
        ("x:80", {}, {"relabel": [{"target_label": "__address__", "replacement": "169.254.169.254"}]}, "metadata"),
    ],
)
def test_a_bad_discovered_target_is_left_out_with_a_reason(
    address: str, labels: dict[str, str], settings: dict[str, Any], why: str
) -> None:
    bad = build(
        [job(**settings)],
        {
            "j": [
                Group((address,), labels, "file x", Reach.NO_METADATA),
                Group(("good:1",), {}, "file x", Reach.ANYWHERE),
            ]
        },
    )
    assert len(bad.targets) <= 1
    assert "good:1" not in bad.problems[0]
    assert why in bad.problems[0]
    assert bad.problems[0].startswith("job j, file x, target ")


def test_link_local_can_be_allowed() -> None:
    assert one("169.254.1.1:80", allow_link_local=True).reach is Reach.ANYWHERE


def test_target_limit_keeps_the_first_and_says_so() -> None:
    outcome = found(*(f"h:{n}" for n in range(1, 10)), target_limit=3)
    assert [dict(target.labels)["instance"] for target in outcome.targets] == ["h:1", "h:2", "h:3"]
    assert outcome.problems == ("job j: more than 3 targets (target_limit); the rest is left out",)
    assert found("h:1", "h:2", "h:3", target_limit=3).problems == ()


def test_no_two_targets_share_their_labels() -> None:
    assert len(found("h:1", "h:1").targets) == 1
    assert found("h:1", "h:1").problems == ()
    outcome = found("h:1", "h:2", labels={"instance": "same"})
    assert [target.url for target in outcome.targets] == ["http://h:1/metrics"]
    assert "another target has the same labels" in outcome.problems[0]


def test_messages_are_bounded() -> None:
    outcome = found(*("u@h" for _ in range(500)))
    assert len(outcome.problems) == MOST_MESSAGES + 1
    assert outcome.problems[-1] == "… and 480 more"


def test_jobs_without_targets_are_named() -> None:
    jobs = [job(targets=["h:1"]), JobSettings(name="empty")]
    assert build(jobs, {}).idle_jobs == ("empty",)


def test_unchanged_targets_are_kept_in_any_order() -> None:
    before = found("a:1", "b:1", "c:1").targets
    changes = reconcile(before, found("d:1", "c:1", "a:1").targets)
    assert [target.source for target in changes.added] == ["j/d:1"]
    assert [target.source for target in changes.removed] == ["j/b:1"]
    assert [target.source for target in changes.kept] == ["j/c:1", "j/a:1"]
    again = reconcile(before, found("a:1", "b:1", "c:1").targets)
    assert (again.added, again.removed, len(again.kept)) == ((), (), 3)


@pytest.mark.parametrize(
    "change",
    [
        {"interval": 6},
        {"timeout": 1},
        {"path": "/m"},
        {"labels": {"a": "b"}},
        {"limits": {"samples": 1}},
        {"client": {"authorization": {"credentials": "new"}}},
    ],
)
def test_any_change_makes_another_target(change: dict[str, Any]) -> None:
    changes = reconcile([one("h:1")], [one("h:1", **change)])
    assert (len(changes.added), len(changes.removed), changes.kept) == (1, 1, ())


def revised(*revisions: str, **labels: str) -> list[Target]:
    return [one(f"h{n}:1", labels={"__revision__": text, **labels}) for n, text in enumerate(revisions)]


def test_a_rollout_begins_with_its_first_pod_and_is_complete_without_the_last_old_one() -> None:
    rollouts = Rollouts()
    seen = [
        list(rollouts.step(revised(*revisions, pool="llm/vllm")))
        for revisions in (
            ("a", "a"), ("a", "a", "b"), ("a", "b"), ("b", "b"), ("b",), (), ("b", "b", "b"),
            ("a", "b"), ("a",), ("c",),
        )
    ]  # fmt: skip
    assert [[text for pool, text in each if pool == "llm/vllm"] for each in seen] == [
        [], ["rollout of b"], [], ["rollout of b is complete"], [], [], [],
        ["rollout of a"], ["rollout of a is complete"], ["rollout of c"],
    ]  # fmt: skip


def test_scaling_another_pool_and_targets_without_revision_are_no_rollout() -> None:
    rollouts = Rollouts()
    assert list(rollouts.step(revised("a", pool="x"))) == []
    assert list(rollouts.step(revised("a", "a", "a", pool="x") + revised("b", pool="y"))) == []
    assert list(rollouts.step(found("h:1", "h:2").targets)) == []
    assert list(rollouts.step(revised("b", job="z"))) == [], "seen for the first time"
    assert list(rollouts.step(revised("c", job="z"))) == [("z", "rollout of c")], "without a pool the job is one"


def test_offsets_spread_over_the_interval() -> None:
    offsets = [target.offset_seconds for target in found(*(f"h:{port}" for port in range(1, 401)), interval=8).targets]
    assert all(0 <= offset < 8 for offset in offsets)
    for second in range(8):
        assert 30 <= sum(second <= offset < second + 1 for offset in offsets) <= 70


def test_an_offset_stays_over_restarts() -> None:
    """A fixed number: Python's own hash would differ in every process."""
    assert one("h:1", interval=8).offset_seconds == pytest.approx(0.80192041162469)


@pytest.mark.parametrize(
    "settings",
    [
        {"jobs": [{"name": "a", "timeout": "6s"}]},
        {"jobs": [{"name": "a"}, {"name": "a"}]},
        {"jobs": [{"name": "llm"}], "targets": ["h:1"]},
        {"jobs": [{"name": "a", "path": "metrics"}]},
        {"jobs": [{"name": "a", "interval": "0s"}]},
        {"jobs": [{"name": "a", "labels": {"a-b": "c"}}]},
        {"jobs": [{"name": "a", "file_sd": [{"files": []}]}]},
        {"targets": [{"urll": "h:1"}]},
    ],
)
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScrapeSettings.model_validate(settings)


def test_short_and_long_way() -> None:
    settings = ScrapeSettings.model_validate({"targets": ["h:1", {"url": "h:2"}], "jobs": [{"name": "a"}]})
    assert [job.name for job in settings.all_jobs] == ["a", "llm"]
    assert [target.url for target in settings.all_jobs[1].targets] == ["h:1", "h:2"]
    assert ScrapeSettings().all_jobs == ()
    assert JobSettings(name="a").timeout_seconds == 4.0


def fleet_jobs() -> list[JobSettings]:
    """Ten pools of four replicas in one job, and five jobs without pools."""
    targets = [{"url": f"10.0.{p}.{r}:8000", "labels": {"pool": f"pool-{p}"}} for p in range(10) for r in range(4)]
    plain = [job(name=f"plain-{n}", targets=[f"10.1.{n}.{r}:8000" for r in range(3)]) for n in range(5)]
    return [job(name="chat", targets=targets), *plain]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_the_targets_out_and_split_no_pool(count: int) -> None:
    whole = set(build(fleet_jobs(), {}).targets)
    parts = [build(fleet_jobs(), {}, shard=(place, count)) for place in range(count)]
    read = [target for part in parts for target in part.targets]
    assert len(read) == len(set(read)) == len(whole)
    assert set(read) == whole
    owner: dict[str, set[int]] = {}
    for place, part in enumerate(parts):
        assert part.problems == part.idle_jobs == ()
        assert len(part.targets) + part.dropped == len(whole)
        for target in part.targets:
            labels = dict(target.labels)
            owner.setdefault(labels.get("pool", labels["job"]), set()).add(place)
    assert len(owner) == 15
    assert all(len(places) == 1 for places in owner.values())
    if count > 1:
        assert "read by shard" in parts[0].dropped_because[0]


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "1/0", "a/b", "0/1/2", "½/2"])
def test_a_shard_is_i_of_n(text: str) -> None:
    with pytest.raises(ValidationError, match="is no shard; expected i/N"):
        ScrapeSettings(shard=text)
