"""Configuration of the incident room."""

from pydantic import Field

from aiops.kit.settings import Duration, Section


class IncidentSettings(Section):
    """How alerts are damped, which are one incident, and how long both are remembered after they went quiet."""

    retention: Duration = Field(900.0, ge=0)
    """How long a resolved alert is kept, seconds. As long as Prometheus keeps its own (15 min), so that a
    "resolved" that an Alertmanager missed is sent again and again."""
    gone_after: Duration = Field(900.0, gt=0)
    """An alert of whose series nothing was heard for so long is resolved as gone, seconds. Longer than the
    longest back-off of a crash-looping container (5 min), which would otherwise resolve and fire for ever."""
    min_firing: Duration = Field(0.0, ge=0)
    """An alert that fired does so at least this long, seconds. None by default: every rule asks for several points
    within bounds already."""
    max_firing: Duration = Field(604_800.0, ge=0)
    """A statistical alert that fires so long ends, seconds: what stood for a week is how things are, and nobody works
    on it. Its series is learnt anew, and it fires again once it was well within bounds, or at twice its highest score.
    Never a rule that must hold or an error budget, nor anything beside a ``critical`` alert of the same entity.
    0: never."""
    flap_limit: int = Field(2, ge=1)
    """An alert that fires so many times, each within ``retention`` of the end before, flaps …"""
    flap_calm: Duration = Field(600.0, ge=0)
    """… and is then resolved only after so long within bounds, seconds."""
    frequent_limit: int = Field(6, ge=1)
    """An alert that fired so often within ``frequent_window`` is told one severity lower: ``warning`` as ``info``.
    Never one that is ``critical``."""
    frequent_window: Duration = Field(86_400.0, ge=0)
    """Time over which firings are counted; 0 lowers nothing."""
    join_window: Duration = Field(900.0, ge=0)
    """An alert joins an open incident of the same part of the fleet when the last one joined within this time,
    seconds; later it is another story."""
    flap_window: Duration = Field(900.0, gt=0)
    """An alert that fires again within this time after its incident ended reopens that incident, seconds."""
    storm_incidents: int = Field(10, ge=1)
    """When so many incidents opened within ``storm_window``, further alerts join the first of them: what strikes
    everywhere at once is one story, and nobody reads a hundred pages."""
    storm_window: Duration = Field(60.0, ge=0)
    """Time of a storm, seconds; 0 turns it off."""
    longest_step: Duration = Field(60.0, gt=0)
    """Most time that one step may add to the waits above, seconds. A wall clock that jumps, a suspended
    machine or a restart then ages nothing by more than this; the step itself is far shorter."""
    external_ttl: Duration = Field(21_600.0, gt=0)
    """An alert of another's, told by an Alertmanager, ends when it is not repeated for so long, seconds. Longer than
    the 4 hours after which an Alertmanager repeats by default."""
