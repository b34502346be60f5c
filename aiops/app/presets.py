"""The shipped data: where it lies (in an installed package, or at the top of a checkout) and what it says.

Documents are read once per process and given to everybody who asks; nobody changes what was read.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path

from aiops.detect.policy import AnomalyPolicy
from aiops.detect.rules import RuleBook
from aiops.diagnose.signature import CauseBook
from aiops.explain.words import Language, Words, parse_signals, words_of
from aiops.kit import own_yaml
from aiops.signals.catalog import SIGNALS
from aiops.signals.profile import Profile, parse_profiles
from aiops.signals.telemetry import exported_name

_EXPORTED = re.compile("aiops_signal_[a-z0-9_]+")
_SLUG = re.compile("[a-z0-9-]{1,64}")


class Folder(StrEnum):
    """Data that ships with the program; names as at the top of the repository."""

    MODELS = "models"
    ALERT_RULES = "alert_rules"
    DASHBOARDS = "dashboards"


def shipped(folder: Folder, package: Path | None = None) -> Path:
    """Find a data folder.

    A wheel carries it as ``aiops/_data/…``; an editable install has no ``_data`` and uses the checkout around it.

    Parameters
    ----------
    package
        Folder of the package, for tests; by default where ``aiops`` was imported from.

    Raises
    ------
    FileNotFoundError
        Neither place has it: the installation is damaged.
    """
    home = package if package is not None else Path(str(files("aiops")))
    places = (home / "_data" / folder, home.parent / folder)
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"the data folder {folder} is in neither {places[0]} nor {places[1]}; install aiops again")


@cache
def engine_profiles() -> tuple[Profile, ...]:
    """Profiles of all known programs, from ``models/engines``."""
    folder = shipped(Folder.MODELS) / "engines"
    return parse_profiles({path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))})


@cache
def anomaly_policy() -> AnomalyPolicy:
    """What statistics watch, from ``models/detectors/anomaly.yaml``."""
    return AnomalyPolicy.parse(*_document("detectors", "anomaly.yaml"))


@cache
def rulebook() -> RuleBook:
    """The deterministic rules, from ``models/detectors/liveness.yaml``."""
    return RuleBook.parse(*_document("detectors", "liveness.yaml"))


@cache
def cause_book() -> CauseBook:
    """What known faults look like and which actions there are, from ``models/causes``."""
    folder = shipped(Folder.MODELS) / "causes"
    return CauseBook.parse({path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))})


@cache
def signal_names() -> Mapping[str, Mapping[Language, tuple[str, ...]]]:
    """What signals are called in both languages, from ``models/words``."""
    return parse_signals(*_document("words", "signals.yaml"))


@cache
def words() -> Words:
    """What signals, causes and actions are called in both languages."""
    book, (chinese, where) = cause_book(), _document("words", "causes.yaml")
    causes = {one.id: (one.title, one.fix) for one in book.causes}
    return words_of(signal_names(), causes, book.actions, chinese=chinese, where=where)


def runbook(slug: str) -> str | None:
    """Text of a shipped runbook; None when there is none of that name. The slug may come from a stranger."""
    path = shipped(Folder.ALERT_RULES) / "runbooks" / f"{slug}.md"
    return path.read_text(encoding="utf-8") if _SLUG.fullmatch(slug) and path.is_file() else None


def dependents() -> Mapping[str, tuple[str, ...]]:
    """Signal → what is blind without it: names of rules in order of the documents, then panels of the boards."""
    found: dict[str, dict[str, None]] = {}
    for rule in rulebook().rules:
        for operand in rule.when.operands if rule.when else ():
            found.setdefault(operand.signal, {})[rule.name] = None
    for watch in anomaly_policy().watch:
        found.setdefault(watch.signal, {})[watch.rule] = None
    for signal, panels in _panels().items():
        found.setdefault(signal, {}).update(dict.fromkeys(panels))
    return {signal: tuple(names) for signal, names in found.items()}


def _panels() -> Mapping[str, list[str]]:
    """Signal → panels of the shipped boards that ask for it by the name under which we export it."""
    signals = {exported_name(signal): signal.name for signal in SIGNALS.values()}
    found: dict[str, list[str]] = {}
    for path in sorted(shipped(Folder.DASHBOARDS).glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            asked = " ".join(target["expr"] for target in panel.get("targets", ()))
            for name in dict.fromkeys(_EXPORTED.findall(asked)):
                if name in signals:
                    found.setdefault(signals[name], []).append(f"panel {board['title']}: {panel['title']}")
    return found


def _document(folder: str, name: str) -> tuple[object, str]:
    path = shipped(Folder.MODELS) / folder / name
    return own_yaml.load(path.read_bytes()), name
