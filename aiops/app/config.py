"""The configuration of the daemon: the sections of all rooms joined, one line each.

Works without a file: every key has a default. Each section is declared beside the code that uses it.
"""

from typing import Annotated, Any

from pydantic import Field

from aiops.app.actuator import ActuatorSettings
from aiops.capacity.settings import CapacitySettings
from aiops.collect.hub import HubSettings
from aiops.collect.integrity import IntegritySettings
from aiops.collect.nvml_watch import NvmlSettings
from aiops.collect.pod_resources import PodResourcesSettings
from aiops.collect.probe import ProbeSettings
from aiops.collect.promapi import PrometheusSettings
from aiops.collect.settings import ScrapeSettings
from aiops.detect.settings import DetectSettings
from aiops.explain.settings import ExplainSettings
from aiops.incidents.policy_settings import MaintenanceSettings
from aiops.incidents.settings import IncidentSettings
from aiops.incidents.slo_settings import SloSettings
from aiops.kit.log import Format, Level
from aiops.kit.settings import Duration, Section
from aiops.notify.remote_write import RemoteWrites
from aiops.notify.settings import NotifySettings
from aiops.signals.settings import NormaliseSettings
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings


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
    scrape: ScrapeSettings = ScrapeSettings()
    """Metrics pages of engines, exporters and anything else that speaks Prometheus."""
    nvml: NvmlSettings = NvmlSettings()
    """GPUs of this machine, read through the driver."""
    pod_resources: PodResourcesSettings = PodResourcesSettings()
    """Which pod has which GPU."""
    probe: ProbeSettings = ProbeSettings()
    """Small questions to served models: the view of a user."""
    integrity: IntegritySettings = IntegritySettings()
    """Files of models, held against their manifests."""
    prometheus: PrometheusSettings = PrometheusSettings()
    """History to learn from at start."""
    hub: HubSettings = HubSettings()
    """Servers that scrape for us."""
    signals: NormaliseSettings = NormaliseSettings()
    """From metrics pages to canonical signals."""
    store: StoreSettings = Field(default_factory=StoreSettings)
    """State on disk, and how far back memory reaches."""
    detect: DetectSettings = DetectSettings()
    """From signals to scores."""
    incidents: IncidentSettings = IncidentSettings()
    """From scores to alerts to incidents."""
    explain: ExplainSettings = ExplainSettings()
    """From incidents to words."""
    maintenance: MaintenanceSettings = MaintenanceSettings()
    """What is planned, and what is then left out."""
    slo: SloSettings = SloSettings()
    """What users were promised, and how much of it may go wrong."""
    capacity: CapacitySettings = CapacitySettings()
    """From queues to replica advice."""
    actuator: ActuatorSettings = ActuatorSettings()
    """From advice to replicas; off."""
    notify: NotifySettings = NotifySettings()
    """Who is told."""
    remote_write: RemoteWrites = ()
    """Who keeps scores and bands, so that they outlive the daemon."""
    web: WebSettings = WebSettings()
    """Own HTTP server."""
    log: LogSettings = LogSettings()
    """Own log."""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a configuration file, for editors; defaults read as a person would write them."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
