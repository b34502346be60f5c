"""The configuration of the daemon: the sections of all rooms joined, one line each.

Works without a file: every key has a default. Each section is declared beside the code that uses it.
"""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from aiops.incidents.settings import IncidentSettings
from aiops.kit.log import Format, Level
from aiops.kit.settings import Duration, Section
from aiops.web.settings import WebSettings

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=128)]
LabelValue = Annotated[str, Field(coerce_numbers_to_str=True, min_length=1, max_length=1024)]


class LogSettings(Section):
    """What the daemon writes to stderr about itself."""

    level: Level = Level.INFO
    """Least severe records that are written."""
    format: Format = Format.LOGFMT
    """``logfmt`` reads well and greps well; ``json`` suits log shippers."""


class Config(Section):
    """All settings of aiops."""

    interval: Annotated[Duration, Field(ge=0.2, le=300)] = 5.0
    """Time between two ticks: how often detectors look and how fine history is. Engines change within seconds, and
    5 s keeps a day of a small fleet in a few MiB; below 1 s most exporters only repeat themselves."""
    external_labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels added to everything that leaves this daemon, such as the cluster. Two daemons that watch the same
    fleet must have the same ones, so that Alertmanager sees one alert and not two."""
    log: LogSettings = LogSettings()
    """Own log."""
    incidents: IncidentSettings = IncidentSettings()
    """From scores to alerts to incidents."""
    web: WebSettings = WebSettings()
    """Own HTTP server."""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a configuration file, for editors; defaults read as a person would write them."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
