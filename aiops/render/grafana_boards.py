"""All boards of the pack."""

from collections.abc import Iterable

from aiops.render.grafana import Board
from aiops.render.grafana_capacity import capacity
from aiops.render.grafana_engines import engine
from aiops.render.grafana_fleet import fleet
from aiops.render.grafana_gpus import gpus
from aiops.render.grafana_incidents import incidents
from aiops.render.grafana_itself import itself
from aiops.render.grafana_latency import latency
from aiops.render.rules_pack import Pack
from aiops.signals.profile import Family, Profile


def boards(pack: Pack, profiles: Iterable[Profile]) -> tuple[Board, ...]:
    """Every board.

    Parameters
    ----------
    pack
        Its promises stand in the first row of the overview; its patterns tell counters without ``_total``.
    profiles
        Engines, gateways and GPU exporters get a board each.
    """
    known = sorted(profiles, key=lambda profile: profile.name)
    shown = [profile for profile in known if profile.family in (Family.ENGINE, Family.GATEWAY, Family.GPU)]
    general = (fleet(pack.objectives), latency(), gpus(), incidents(), capacity(), itself())
    return (*general, *(engine(profile, pack.bare_counters) for profile in shown))
