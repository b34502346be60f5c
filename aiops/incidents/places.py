"""Where something is in the fleet, from the smallest part to the whole: GPU, host, replica, pool, model, route.

Two entities that share a place may be one story. Labels of an entity tell most of its places; that the GPUs of a host
serve a pool is known from the replicas that answer there (:class:`Fleet`), and which of them from their owner.
"""

from collections.abc import Sequence
from ipaddress import ip_address

from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, SeriesKey

Place = tuple[str, str]
"""Level and name, such as ``("pool", "chat")``."""
_ROOT_LABELS = ("pool", "job", "node", "instance")
_HARDWARE = (EntityKind.GPU, EntityKind.NODE)


def root_of(entity: Entity) -> str:
    """Name of the widest thing that an entity belongs to by its own labels, such as ``pool=chat``."""
    return next((f"{name}={value}" for name in _ROOT_LABELS if (value := entity.label(name))), str(entity))


class Fleet:
    """Knows who serves where; looks anew when the series change.

    Parameters
    ----------
    this_host
        Name of the machine that loopback addresses mean.
    """

    def __init__(self, this_host: str = "") -> None:
        self._this_host = _short(this_host)
        self._keys: Sequence[SeriesKey | None] = ()
        self._tenancy = NO_TENANCY
        self._served: dict[str, list[Entity]] = {}
        self._models: dict[str, set[str]] = {}
        self._places: dict[Entity, tuple[Place, ...]] = {}

    def follow(self, keys: Sequence[SeriesKey | None], tenancy: Tenancy = NO_TENANCY) -> None:
        """Take in the series of the window, and who has which GPU; cheap while they are the same objects."""
        if keys is self._keys and tenancy is self._tenancy:
            return
        self._keys, self._tenancy, self._places = keys, tenancy, {}
        self._served, self._models = {}, {}
        for entity in dict.fromkeys(key.entity for key in keys if key is not None):
            if entity.kind is not EntityKind.REPLICA:
                continue
            if host := self._host(entity):
                self._served.setdefault(host, []).append(entity)
            if model := entity.label("model_name"):
                self._models.setdefault(_pool(entity), set()).add(model)

    def places(self, entity: Entity) -> tuple[Place, ...]:
        """Places of an entity, the smallest first."""
        found = self._places.get(entity)
        if found is None:
            found = self._places[entity] = tuple(self._look(entity))
        return found

    def name(self, entity: Entity) -> Place:
        """Place that names an incident which begins here, so that it does not matter which of its alerts came first:
        the model that its pool serves, else its pool, else the widest place that is known."""
        places = self.places(entity)
        pools = [name for level, name in places if level == "pool"]
        if not pools:
            return places[-1]
        pool = min(pools)
        return ("model", min(self._models[pool])) if pool in self._models else ("pool", pool)

    def _look(self, entity: Entity) -> list[Place]:
        host = self._host(entity)
        found = [("gpu", entity.label("gpu")), ("host", host)]
        if entity.kind in _HARDWARE:
            here = [one for one in self._served.get(host, ()) if self._tenancy.holds(one, entity) is not False]
            found += dict.fromkeys(place for one in here for place in _service(one))
        else:
            instance = entity.label("instance")
            found += [("replica", f"{entity.label('job')}/{instance}" if instance else ""), *_service(entity)]
            if not entity.label("model_name"):  # a page that is down tells no model, and its pool does
                found += [("model", model) for model in sorted(self._models.get(_pool(entity), ()))]
        return [(level, name) for level, name in found if name] or [("entity", str(entity))]

    def _host(self, entity: Entity) -> str:
        """Machine that an entity runs on; ``""`` when no label tells."""
        named = self._tenancy.node_of(entity) or entity.label("node") or _host_of(entity.label("instance"))
        here = named == "localhost" or _is_loopback(named)
        return self._this_host or named if here else _short(named)


def _service(entity: Entity) -> list[Place]:
    """Pool, model and route of something that serves."""
    return [("pool", _pool(entity)), ("model", entity.label("model_name")), ("route", entity.label("route"))]


def _pool(entity: Entity) -> str:
    return entity.label("pool") if entity.kind is EntityKind.POOL else pool_of(entity).label("pool")


def _host_of(instance: str) -> str:
    host, colon, port = instance.rpartition(":")
    return (host if colon and port.isdigit() else instance).strip("[]")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _short(host: str) -> str:
    """``n1.example.com`` is ``n1``, as the driver and the orchestrator call it; addresses stay."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower().partition(".")[0]
