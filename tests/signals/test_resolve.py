"""Which series carry which signal: detection, selectors, entities, ambiguity."""

from aiops.collect.exposition import parse
from aiops.signals.page_index import acceptor, host_of
from aiops.signals.profile import Profile, parse_profile
from aiops.signals.resolve import Resolution, Status, resolve

HEAD = "name: x\ntitle: X\ndetect: {prefixes: [x_]}\nentity: {labels: {model_name: [model_name, model]}}\n"


def look(page: str, *profiles: str, target: tuple[tuple[str, str], ...] = (("job", "j"),)) -> Resolution:
    parsed: list[Profile] = [parse_profile(text, "test") for text in profiles]
    body = "\n".join(line.strip() for line in page.strip().splitlines()) + "\n"
    return resolve(parse(body.encode()).layout, parsed, target)


def test_selectors() -> None:
    assert [acceptor(["a", "~b.*"])(text) for text in ("a", "bee", "abe", "")] == [True, True, False, False]
    assert [acceptor(["!a", "!~b.*"])(text) for text in ("a", "bee", "c", "")] == [False, False, True, True]
    assert [acceptor(["", "0"])(text) for text in ("", "0", "1")] == [True, True, False]


def test_host_of_instance() -> None:
    assert [host_of(text) for text in ("n1:9100", "[::1]:9100", "n1", "10.0.0.1:80", "::1")] == [
        "n1", "::1", "n1", "10.0.0.1", "::1",
    ]  # fmt: skip


def test_detection_by_all_and_none() -> None:
    profile = "name: y\ntitle: Y\ndetect: {all: [running, waiting], none: ['z:*']}\nroles: {running: running}"
    assert look("running 1\nwaiting 2", profile).engine == "y"
    assert look("running 1", profile).engine == ""
    assert look("running 1\nwaiting 2\nz:a 1", profile).engine == ""


def test_counter_is_found_with_and_without_total() -> None:
    for name in ("x_done", "x_done_total"):
        for written in ("x_done", "x_done_total"):
            found = look(f"{name} 1", HEAD + f"roles: {{finished: {written}}}")
            assert [b.metric for b in found.bindings] == [name]


def test_both_spellings_at_once_are_ambiguous() -> None:
    found = look("x_done 1\nx_done_total 1", HEAD + "roles: {finished: x_done}")
    assert [(b.status, b.metric, b.candidates) for b in found.bindings] == [
        (Status.AMBIGUOUS, "x_done_total", ("x_done",))
    ]


def test_equal_profiles_that_fill_one_signal_are_ambiguous_and_priority_decides() -> None:
    one = HEAD + "roles: {running: x_a}"
    two = one.replace("name: x", "name: w").replace("x_a", "x_b")
    page = "x_a 1\nx_b 2"
    (tied,) = look(page, one, two).bindings
    assert (tied.profile, tied.status, tied.candidates) == ("w", Status.AMBIGUOUS, ("x_a",))
    (decided,) = look(page, one + "\npriority: 5", two).bindings
    assert (decided.profile, decided.status, decided.candidates) == ("x", Status.RESOLVED, ("x_b",))


def test_series_without_the_model_label_belong_to_the_only_model() -> None:
    profile = HEAD + "roles: {running: x_running, kv_use: x_kv, start_time: {metric: x_start, shared: true}}"
    one = look('x_running{model="m"} 1\nx_kv 0.5\nx_start 9', profile)
    assert {b.entity.label("model_name") for b in one.bindings} == {"m"}
    two = look('x_running{model="m"} 1\nx_running{model="n"} 1\nx_kv 0.5\nx_start 9', profile)
    names = {(b.signal, b.entity.label("model_name")) for b in two.bindings}
    assert {("kv_use", ""), ("start_time", "m"), ("start_time", "n")} <= names
    assert ("kv_use", "m") not in names


def test_a_gpu_falls_back_to_the_node_of_the_target() -> None:
    profile = "name: g\ntitle: G\nfamily: gpu\ndetect: {prefixes: [x_]}\n"
    profile += "entity: {kind: gpu, labels: {gpu: [uuid], node: [Hostname]}}\nroles: {gpu_temp: x_temp}"
    target = (("instance", "n7:9400"), ("job", "dcgm"))
    (binding,) = look('x_temp{uuid="GPU-1"} 40', profile, target=target).bindings
    assert binding.entity.labels == (("gpu", "GPU-1"), ("node", "n7"))
    (binding,) = look('x_temp{uuid="GPU-1",Hostname="h"} 40', profile, target=target).bindings
    assert binding.entity.labels == (("gpu", "GPU-1"), ("node", "h"))


def test_label_sets_with_other_bounds_merge_at_common_bounds() -> None:
    page = "\n".join(
        f'x_seconds_bucket{{rank="{rank}",le="{bound}"}} 1'
        for rank, bounds in (("0", ("1", "2", "+Inf")), ("1", ("2", "3", "+Inf")))
        for bound in bounds
    )
    (binding,) = look(page, HEAD + "roles: {e2e: x_seconds}").bindings
    assert [bound for bound, _ in binding.buckets] == [2.0, float("inf")]
    assert [len(positions) for _, positions in binding.buckets] == [2, 2]
    assert len(binding.together) == 2


def test_histogram_without_buckets_still_gives_sum_and_count() -> None:
    (binding,) = look("x_seconds_sum 3\nx_seconds_count 2", HEAD + "roles: {e2e: x_seconds}").bindings
    assert (binding.value, binding.over, binding.buckets) == ((0,), (1,), ())


def test_summary_of_several_series_loses_its_quantiles() -> None:
    page = "\n".join(f'x_s{{rank="{rank}",quantile="0.5"}} 1\nx_s_sum{{rank="{rank}"}} 1' for rank in "01")
    page += '\nx_s_count{rank="0"} 1\nx_s_count{rank="1"} 1'
    (binding,) = look(page, HEAD + "roles: {e2e: {metric: x_s, as: summary}}").bindings
    assert binding.quantiles == ()
    assert len(binding.value) == 2


def test_pending_only_until_the_event_has_happened() -> None:
    profile = HEAD + "roles: {e2e: {metric: x_ms, appears: with the first request, unless: [x_requests]}}"
    assert set(look("x_up 1", profile).pending) == {"e2e"}
    assert set(look("x_up 1\nx_requests_total 4", profile).pending) == set()


def test_a_source_that_lacks_a_part_gives_way_to_the_next() -> None:
    sources = "[{metric: x_blocks, as: product, times: x_block_tokens}, x_tokens]"
    (binding,) = look("x_blocks 4\nx_tokens 64", HEAD + f"roles: {{kv_capacity: {sources}}}").bindings
    assert binding.metric == "x_tokens"
    sources = "[{metric: x_hits, as: ratio, over: x_queries}, x_hit_rate]"
    (binding,) = look("x_hits 4\nx_hit_rate 0.5", HEAD + f"roles: {{prefix_hit: {sources}}}").bindings
    assert binding.metric == "x_hit_rate"
