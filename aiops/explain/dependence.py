"""Whether the language model is served by the fleet that it is asked about: then its silence means nothing, and its
words come from what may be broken."""

from collections.abc import Iterable

from yarl import URL

from aiops.signals.types import Entity

_LOCAL = frozenset({"localhost", "::1", "0.0.0.0"})  # noqa: S104 - compared, not bound
_SHARED_LABELS = ("pool", "job")


def warning_of(url: str, fleet: Iterable[Entity], concerned: Iterable[Entity]) -> str:
    """What to warn of; empty when the endpoint is none of the watched ones.

    Parameters
    ----------
    fleet
        Every watched target.
    concerned
        Entities of the incident.
    """
    place = _place(url)
    serving = [entity for entity in fleet if _place(f"//{entity.label('instance')}") == place]
    if not serving:
        return ""
    touched = list(concerned)
    for one in serving:
        for other in touched:
            same = _place(f"//{other.label('instance')}") == place
            if same or any(one.label(name) and one.label(name) == other.label(name) for name in _SHARED_LABELS):
                return "the language model is served by the fleet under incident"
    return "the language model is served by the watched fleet"


def _place(url: str) -> tuple[str, int] | None:
    """Host and port; None for what is neither."""
    try:
        parsed = URL(url if "//" in url else f"//{url}")
        host, port = parsed.host, parsed.port or (443 if parsed.scheme == "https" else 80)
    except ValueError:
        return None
    if not host:
        return None
    return ("127.0.0.1" if host in _LOCAL else host.lower()), port
