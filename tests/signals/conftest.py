"""Shared by the tests of the signals room: the shipped profiles, and pages written as text."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aiops.collect.exposition import PageParser
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Page
from aiops.signals.profile import Profile, parse_profiles
from aiops.signals.types import Labels, Reading

ENGINES = Path(__file__).resolve().parents[2] / "models" / "engines"
TARGET: Labels = (("instance", "host-1:8000"), ("job", "llm"), ("pool", "chat"))


@pytest.fixture(scope="session")
def profiles() -> tuple[Profile, ...]:
    """All shipped profiles."""
    return parse_profiles({str(path): path.read_text() for path in sorted(ENGINES.glob("*.yaml"))})


class Source:
    """One target: a parser that keeps its layouts, and the normaliser behind it."""

    def __init__(self, profiles: tuple[Profile, ...], target: Labels = TARGET) -> None:
        self.parser = PageParser()
        self.normaliser = Normaliser(profiles, target, "test")

    def page(self, text: str | bytes) -> Page:
        body = text if isinstance(text, bytes) else "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"
        return self.parser.parse(body if isinstance(body, bytes) else body.encode())

    def read(self, text: str | bytes, at: float) -> Reading:
        return self.normaliser.normalise(self.page(text), at)


@pytest.fixture
def source(profiles: tuple[Profile, ...]) -> Source:
    """A target read with the shipped profiles."""
    return Source(profiles)


@pytest.fixture
def new_source(profiles: tuple[Profile, ...]) -> Callable[..., Source]:
    """Make targets, each with its own labels."""
    return lambda target=TARGET: Source(profiles, target)


@pytest.fixture
def value() -> Callable[..., float]:
    """Return a function that picks one value of a reading; KeyError when there is no such column."""

    def pick(reading: Reading, signal: str, stat: str = "", **labels: str) -> float:
        found = [
            float(number)
            for key, number in zip(reading.columns.keys, reading.values, strict=True)
            if (key.signal, key.stat) == (signal, stat)
            and all(key.entity.label(name) == text for name, text in labels.items())
        ]
        if not found:
            raise KeyError(signal)
        assert len(found) == 1, f"{signal} {stat} is there {len(found)} times"
        return found[0]

    return pick
