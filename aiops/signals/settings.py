"""Settings of the signals room."""

from pydantic import Field

from aiops.kit.settings import Duration, Section


class NormaliseSettings(Section):
    """How pages become signals."""

    tail_observations: float = Field(default=1.0, gt=0)
    """Requests that must be expected beyond a quantile before it is given (at least 5 in all): with 1, p50 needs 5,
    p95 20 and p99 100 requests in an interval. Fewer would call the slowest request a percentile."""
    longest_gap_seconds: Duration = Field(default=300.0, gt=0)
    """Longest time between two pages over which a rate is still taken: five minutes, Prometheus' staleness, since
    an average over longer says nothing about now."""
    plateau_samples: int = Field(default=3, ge=1)
    """Samples with a standing queue before the largest batch seen counts as ``max_running``: one or two may catch
    the batch while it still fills."""
    plateau_forget: float = Field(default=0.01, ge=0, le=1)
    """Share of the distance to today's batch that the learnt ``max_running`` gives up per sample with a standing
    queue: at 5 s a smaller limit is learnt within some ten minutes."""
