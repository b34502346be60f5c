"""All boards of the pack, by name of their file."""

from collections.abc import Iterable, Sequence

from aiops.render.grafana import Board
from aiops.render.grafana_fleet import fleet
from aiops.render.grafana_itself import itself
from aiops.render.rules_pack import Objective
from aiops.signals.profile import Profile


def boards(objectives: Sequence[Objective], profiles: Iterable[Profile]) -> tuple[Board, ...]:
    """Every board.

    Parameters
    ----------
    objectives
        Promises of the rule pack, for the first row of the overview.
    profiles
        Engines, gateways and GPU exporters get a board each.
    """
    return (fleet(objectives), itself())
