"""Configuration of the incident room."""

from pydantic import Field

from aiops.kit.settings import Duration, Section


class IncidentSettings(Section):
    """How long alerts and incidents are remembered after they went quiet."""

    retention: Duration = Field(900.0, ge=0)
    """How long a resolved alert is kept, seconds. As long as Prometheus keeps its own (15 min), so that a
    "resolved" that an Alertmanager missed is sent again and again."""
    gone_after: Duration = Field(900.0, gt=0)
    """An alert of whose series nothing was heard for so long is resolved as gone, seconds. Longer than the
    longest back-off of a crash-looping container (5 min), which would otherwise resolve and fire for ever."""
    flap_window: Duration = Field(900.0, gt=0)
    """An alert that fires again within this time after its incident ended reopens that incident, seconds."""
    longest_step: Duration = Field(60.0, gt=0)
    """Most time that one step may add to the two waits above, seconds. A wall clock that jumps, a suspended
    machine or a restart then ages nothing by more than this; the step itself is far shorter."""
