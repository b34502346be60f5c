"""An incident of the fleet that serves the language model is noticed."""

import pytest

from aiops.explain.dependence import warning_of
from aiops.signals.types import Entity, EntityKind


def target(instance: str, job: str = "chat") -> Entity:
    return Entity.of(EntityKind.TARGET, instance=instance, job=job)


FLEET = [target("10.0.0.7:8000"), target("10.0.0.8:8000"), target("127.0.0.1:9400", job="gpu")]


@pytest.mark.parametrize(
    ("url", "concerned", "says"),
    [
        ("http://10.0.0.7:8000/v1", target("10.0.0.7:8000"), "under incident"),
        ("http://10.0.0.7:8000/v1", target("10.0.0.8:8000"), "under incident"),
        ("http://10.0.0.7:8000/v1", target("127.0.0.1:9400", job="gpu"), "watched fleet"),
        ("http://localhost:9400/v1", target("127.0.0.1:9400", job="gpu"), "under incident"),
        ("http://10.0.0.7:8001/v1", target("10.0.0.7:8000"), ""),
        ("https://api.example.com/v1", target("10.0.0.7:8000"), ""),
    ],
)
def test_who_serves_the_model(url: str, concerned: Entity, says: str) -> None:
    warning = warning_of(url, FLEET, [concerned])
    assert warning.endswith(says)
    assert bool(warning) == bool(says)


def test_odd_labels_do_no_harm() -> None:
    odd = [target("not a host: at all"), target("[::1]:x"), Entity.of(EntityKind.NODE, node="a")]
    assert warning_of("http://10.0.0.7:8000/v1", odd, odd) == ""
