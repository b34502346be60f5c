"""The boards of this checkout: ``models/rules`` and the engine profiles in, files of ``dashboards`` out."""

from collections.abc import Callable, Mapping
from functools import cache

from aiops.app.presets import engine_profiles
from aiops.app.rule_pack import pack
from aiops.render.grafana import Board, as_text
from aiops.render.grafana_boards import boards as all_boards


@cache
def boards() -> tuple[Board, ...]:
    """All boards."""
    return all_boards(pack(), engine_profiles())


def generated() -> Mapping[str, Callable[[], str]]:
    """Path in the checkout → what must stand there."""
    return {f"dashboards/{board.uid}.json": lambda board=board: as_text(board) for board in boards()}  # type: ignore[misc]  # bound now
