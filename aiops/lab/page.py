"""A lab engine's numbers as the ``/metrics`` page that vLLM would print."""

from aiops.lab.engine import Engine, Histogram


def _value(number: float) -> str:
    return repr(float(number))


def _histogram(name: str, histogram: Histogram, labels: str) -> list[str]:
    lines = [f"# TYPE {name} histogram"]
    for bound, count in zip(histogram.bounds, histogram.counts, strict=True):
        lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {_value(count)}')
    lines.append(f'{name}_bucket{{{labels},le="+Inf"}} {_value(histogram.number)}')
    lines.append(f"{name}_count{{{labels}}} {_value(histogram.number)}")
    lines.append(f"{name}_sum{{{labels}}} {_value(histogram.total)}")
    return lines


def vllm_page(engine: Engine, *, model: str, started: float) -> str:
    """Return the page of one replica in Prometheus text format.

    Parameters
    ----------
    model
        Value of ``model_name``.
    started
        UTC seconds at which the simulated process started.
    """
    labels = f'engine="0",model_name="{model}"'
    plain = (
        ("process_start_time_seconds", "gauge", "", started),
        ("vllm:num_requests_running", "gauge", labels, len(engine.running)),
        ("vllm:num_requests_waiting", "gauge", labels, len(engine.queue)),
        ("vllm:kv_cache_usage_perc", "gauge", labels, min(1.0, engine.kv_used / engine.shape.kv_tokens)),
        ("vllm:num_preemptions_total", "counter", labels, engine.preemptions),
        ("vllm:prompt_tokens_total", "counter", labels, engine.prompt_tokens),
        ("vllm:generation_tokens_total", "counter", labels, engine.generated_tokens),
        ("vllm:request_success_total", "counter", labels + ',finished_reason="stop"', engine.finished),
        ("vllm:request_success_total", "", labels + ',finished_reason="abort"', 0),
        ("vllm:request_success_total", "", labels + ',finished_reason="error"', 0),
        (
            "vllm:cache_config_info",
            "gauge",
            f'block_size="16",engine="0",num_gpu_blocks="{engine.shape.kv_tokens // 16}"',
            1,
        ),
    )
    lines: list[str] = []
    for name, kind, inside, value in plain:
        if kind:
            lines.append(f"# TYPE {name} {kind}")
        lines.append(f"{name}{{{inside}}} {_value(value)}" if inside else f"{name} {_value(value)}")
    for name, histogram in (
        ("vllm:time_to_first_token_seconds", engine.ttft),
        ("vllm:inter_token_latency_seconds", engine.itl),
        ("vllm:e2e_request_latency_seconds", engine.e2e),
        ("vllm:request_queue_time_seconds", engine.queue_time),
        ("vllm:request_prompt_tokens", engine.prompt_len),
        ("vllm:request_generation_tokens", engine.gen_len),
    ):
        lines += _histogram(name, histogram, labels)
    return "\n".join(lines) + "\n"
