"""Configuration of the detect room: how surprised a detector must be, how long it remembers, which rules are off."""

from enum import StrEnum

from pydantic import Field

from aiops.detect.base import Severity
from aiops.kit.settings import Duration, Section


class Estimator(StrEnum):
    """How level and scale of a series are estimated."""

    MEAN = "mean"
    """Mean and root mean square of the residual."""
    QUANTILE = "quantile"
    """Median and median absolute deviation, tracked step by step."""


class FitSettings(Section):
    """Models that are fitted in a process of their own: ARIMA and isolation forests.

    A round starts that process, hands it the windows that are due, and ends it: it weighs some 250 MiB while it runs.
    """

    enabled: bool = True
    """Fit models. Needs the extra ``analytics``; without it the other detectors work alone."""
    interval: Duration = Field(300.0, gt=0)
    """Time between rounds, seconds. Starting costs 2 to 4 seconds of CPU, so rounds are few and large."""
    refit_after: Duration = Field(3600.0, gt=0)
    """Age at which a model is fitted again; as long as the default window, so that a fit sees other data each time."""
    time_limit: Duration = Field(120.0, gt=0)
    """Longest round; then it is killed, the models before stay, and the next round is half as large."""
    most_series: int = Field(1000, ge=1)
    """Series per round, those that waited longest first: some 25 to 50 seconds of CPU at low priority."""
    most_forests: int = Field(8, ge=1)
    """Isolation forests per round, half a second of CPU each."""
    busiest_load: float = Field(2.0, gt=0)
    """Load average per core above which a round is left out: serving comes first."""


class DetectSettings(Section):
    """What the bank runs with; deterministic rules always run unless they are disabled by name."""

    enabled: bool = True
    """Score series statistically. Off, only the deterministic rules remain."""
    budget: float = Field(1.0, gt=0)
    """False alerts a week that statistics may raise, everything that this daemon watches taken together. Bands are as
    wide as it takes; deviations below the minimum of a unit stay silent whatever the budget. Deterministic rules are
    not counted."""
    threshold_sigma: float = Field(6.0, ge=2, le=50)
    """Band of a series whose own history is too short to keep the budget by, in standard deviations of the one-step
    residual. 6 leaves Gaussian noise silent and real, heavy-tailed series a few points a week, which K-of-N then
    swallows."""
    minimum_samples: int = Field(60, ge=8)
    """Known points that a series must have shown before it is judged; 5 minutes at the default tick."""
    level_memory_points: int = Field(60, ge=2)
    """Memory of the expected value, points: 5 minutes at the default tick, so that the daily wave is followed and
    a fault is not (nothing is learnt from a point out of bounds)."""
    scale_memory_points: int = Field(5000, ge=60)
    """Memory of the noise, points: 7 hours at the default tick. Long on purpose: a scale that forgets calls the
    first busy minute after a quiet hour an anomaly."""
    estimator: Estimator = Estimator.MEAN
    """``mean`` sees heavy tails and stays quiet about them; ``quantile`` ignores up to half the points, for series
    whose outliers are not noise."""
    seasonal_series: int = Field(4096, ge=0)
    """Most series whose rhythm of the day and the week is kept, 1 KiB each; only those that may raise an alert, and
    while a rhythm explains them. 0: none."""
    relearn_after: Duration = Field(1800.0, gt=0)
    """Time out of bounds after which a level is accepted as the new normal, seconds. 30 minutes: longer than it
    takes a person to see the alert, short enough that a deploy does not colour the whole day. Never accepted
    while a critical alert of the same entity is active."""
    disable: tuple[str, ...] = ()
    """Names of rules that are not judged at all."""
    severity: dict[str, Severity] = Field(default_factory=dict)
    """Rule name → severity instead of the shipped one. Statistical rules take ``info`` or ``warning`` only."""
    plugins: tuple[str, ...] = ()
    """Detectors of other packages that judge beside ours, by their name in the entry-point group
    ``aiops.detectors``. None by default: installing a package must not change what alerts."""
    fit: FitSettings = FitSettings()
    """Models that are fitted beside the daemon."""
