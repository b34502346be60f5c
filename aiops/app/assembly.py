"""Builds the pieces of the pipeline from settings and the shipped data folders."""

import hashlib
import socket
from collections.abc import Callable
from contextlib import suppress

from aiops.app import presets
from aiops.app.config import Config
from aiops.app.pipeline import Pipeline
from aiops.app.plugins import named_plugins
from aiops.app.presets import Folder, shipped
from aiops.collect.gpu_model import NvidiaModel
from aiops.detect.bank import Bank
from aiops.detect.base import Timing
from aiops.incidents.external import Externals
from aiops.incidents.grouping import Grouping
from aiops.incidents.machine import Machine
from aiops.incidents.policy import Calendar
from aiops.incidents.slo import Ledger
from aiops.signals.topology import Pools
from aiops.store.bands import Bands
from aiops.store.ring import Ring


def load_gpu_model() -> NvidiaModel:
    """What clock-limit bits and Xid numbers mean."""
    return NvidiaModel.parse((shipped(Folder.MODELS) / "gpus" / "nvidia.yaml").read_text(encoding="utf-8"))


def build_bank(config: Config) -> Bank:
    """The detectors with the shipped policy and rules.

    Raises
    ------
    ValueError
        When an override of the configuration names no rule, or a plug-in is not there.
    """
    told = config.capacity.lead_time
    rulebook = presets.rulebook().model_copy(update={} if told is None else {"lead_time": told})
    return Bank(config.detect, presets.anomaly_policy(), rulebook, named_plugins(config.detect.plugins))


def bank_signature(config: Config) -> str:
    """Changes whenever learnt state would mean something else: other settings, another step, another policy."""
    text = config.detect.model_dump_json(exclude={"fit", "budget"}) + str(config.interval)
    text += presets.anomaly_policy().model_dump_json()
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def timing_of(bank: Bank, slo: Ledger) -> Callable[[str], Timing]:
    """Timing of every rule: of a budget's, else of the bank's."""
    return lambda rule: slo.timing(rule) or bank.timing(rule)


def build_grouping(config: Config) -> Grouping:
    """Incidents that have seen nothing yet; addresses of loopback are this machine's."""
    return Grouping(config.incidents, socket.gethostname())


def build_calendar(config: Config) -> Calendar:
    """A calendar that has seen nothing yet; addresses of loopback are this machine's."""
    return Calendar(config.maintenance, socket.gethostname())


def build_pipeline(config: Config) -> Pipeline:
    """A pipeline that has seen nothing yet."""
    store, bank, slo = config.store, build_bank(config), Ledger(config.slo)
    return Pipeline(
        ring=Ring(
            store.rows(config.interval),
            config.interval,
            max_series=store.max_series,
            ttl_seconds=store.series_ttl,
        ),
        pools=Pools(config.signals),
        bank=bank,
        slo=slo,
        calendar=build_calendar(config),
        machine=Machine(timing_of(bank, slo), config.incidents),
        grouping=build_grouping(config),
        externals=Externals(config.incidents),
        bands=Bands(store.rows(config.interval), config.interval),
    )


def take_over(pipeline: Pipeline, bank: Bank, config: Config, at: float) -> None:
    """Give a running pipeline the detectors, budgets and rules of incidents of another configuration.

    Parameters
    ----------
    bank
        The new detectors, already built: building refuses what is wrong before anything is replaced.
    at
        Time of the last tick; 0 before the first.
    """
    slo = Ledger(config.slo)
    bank.restore(pipeline.bank.state())
    with suppress(ValueError):  # another period: budgets begin anew
        slo.restore(pipeline.slo.state(at))
    machine, grouping = Machine(timing_of(bank, slo), config.incidents), build_grouping(config)
    machine.succeed(pipeline.machine, at or None)
    grouping.restore(pipeline.grouping.incidents.values())
    pipeline.bank, pipeline.slo, pipeline.machine, pipeline.grouping = bank, slo, machine, grouping
