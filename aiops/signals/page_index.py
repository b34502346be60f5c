"""A page's series by name and label: what profile matching asks of a layout.

Names are exposed names, suffixes included; nothing here looks at a value or at a declared type.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence

from aiops.signals.page import Layout
from aiops.signals.profile import Profile
from aiops.signals.types import Labels


class PageIndex:
    """Positions of a page's series by exposed name."""

    def __init__(self, layout: Layout) -> None:
        self.samples = layout.samples
        self.names: dict[str, list[int]] = {}
        for position, sample in enumerate(layout.samples):
            self.names.setdefault(sample.name, []).append(position)

    def has(self, metric: str) -> bool:
        """Tell whether a family of this name (or a name beginning so, with a trailing ``*``) is on the page."""
        if metric.endswith("*"):
            return any(name.startswith(metric[:-1]) for name in self.names)
        return any(metric + suffix in self.names for suffix in ("", "_total", "_bucket", "_sum", "_count", "_info"))

    def has_spelling(self, profile: Profile, metric: str) -> bool:
        """Tell whether the metric is there, as written or by an alias."""
        return any(self.has(name) for name in profile.spellings(metric))

    def matches(self, profile: Profile) -> bool:
        """Tell whether the page is of the profile's program."""
        return not any(self.has(name) for name in profile.detect.none) and self.may_hold(profile)

    def may_hold(self, profile: Profile) -> bool:
        """Tell whether the page shows the profile's program, maybe beside another that rules it out."""
        detect = profile.detect
        return (
            any(self.has(prefix + "*") for prefix in detect.prefixes)
            or any(self.has_spelling(profile, name) for name in detect.any)
            or (bool(detect.all) and all(self.has_spelling(profile, name) for name in detect.all))
        )

    def version(self, profile: Profile) -> tuple[str, bool]:
        """Version of the program, ``""`` when unknown, and whether a label states it."""
        for place in profile.version.labels:
            if value := self.label_value(profile, place.metric, place.label):
                return value, True
        for hint in profile.version.hints:
            if self.has_spelling(profile, hint.metric):
                return hint.version, False
        return "", False

    def label_value(self, profile: Profile, metric: str, label: str) -> str:
        """First value of a label of a metric, ``""`` when there is none."""
        for name in profile.spellings(metric):
            for position in self.names.get(name, ()):
                if value := dict(self.samples[position].labels).get(label, ""):
                    return value
        return ""

    def select(self, name: str, rules: Mapping[str, Sequence[str]]) -> list[int]:
        """Positions of the series of one exposed name whose labels the rules accept."""
        positions = self.names.get(name, [])
        if not rules or not positions:
            return positions
        checks = [(label, acceptor(values)) for label, values in rules.items()]
        return [p for p in positions if all(accepts(self.label(p, label)) for label, accepts in checks)]

    def without_copies(self, positions: list[int], copies: Sequence[str]) -> list[int]:
        """Of series that are equal but for the labels ``copies`` keep the one with the lowest of these."""
        if not copies or len(positions) < 2:
            return positions
        kept: dict[Labels, tuple[list[tuple[int, str]], int]] = {}
        for position in positions:
            rest = tuple(pair for pair in self.samples[position].labels if pair[0] not in copies)
            values = [self.label(position, name) for name in copies]
            rank = ([(len(value), value) for value in values], position)  # so that rank 2 comes before rank 10
            kept[rest] = min(kept.get(rest, rank), rank)
        return [position for _, position in kept.values()]

    def label(self, position: int, name: str) -> str:
        """Value of a label of one series, ``""`` when it has none."""
        return next((value for key, value in self.samples[position].labels if key == name), "")

    def number(self, position: int, name: str) -> float:
        """Value of a label as a number; NaN when it is none, such as ``None``."""
        try:
            return float(self.label(position, name))
        except ValueError:
            return float("nan")

    def product(self, position: int, labels: Sequence[str]) -> float:
        """Product of numeric labels; NaN when one is no number."""
        return math.prod(self.number(position, label) for label in labels)


def acceptor(values: Sequence[str]) -> Callable[[str], bool]:
    """Return a check of label values: any of the plain values or patterns, and none of the negated ones."""
    wanted = [_one_acceptor(value) for value in values if not value.startswith("!")]
    unwanted = [_one_acceptor(value[1:]) for value in values if value.startswith("!")]
    return lambda text: (not wanted or any(hit(text) for hit in wanted)) and not any(hit(text) for hit in unwanted)


def _one_acceptor(value: str) -> Callable[[str], bool]:
    if value.startswith("~"):
        pattern = re.compile(value[1:])
        return lambda text: pattern.fullmatch(text) is not None
    return lambda text: text == value


def host_of(instance: str) -> str:
    """Host part of ``host:port``, also of ``[v6]:port``."""
    host, colon, port = instance.rpartition(":")
    return host.strip("[]") if colon and port.isdigit() and (":" not in host or host.startswith("[")) else instance
