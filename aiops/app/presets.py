"""The shipped data: where it lies (in an installed package, or at the top of a checkout) and what it says."""

import re
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

import yaml

from aiops.detect.policy import AnomalyPolicy
from aiops.detect.rules import RuleBook
from aiops.signals.profile import Profile, parse_profiles

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


def engine_profiles() -> tuple[Profile, ...]:
    """Profiles of all known programs, from ``models/engines``."""
    folder = shipped(Folder.MODELS) / "engines"
    return parse_profiles({path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))})


def anomaly_policy() -> AnomalyPolicy:
    """What statistics watch, from ``models/detectors/anomaly.yaml``."""
    return AnomalyPolicy.parse(*_detectors("anomaly.yaml"))


def rulebook() -> RuleBook:
    """The deterministic rules, from ``models/detectors/liveness.yaml``."""
    return RuleBook.parse(*_detectors("liveness.yaml"))


def runbook(slug: str) -> str | None:
    """Text of a shipped runbook; None when there is none of that name. The slug may come from a stranger."""
    path = shipped(Folder.ALERT_RULES) / "runbooks" / f"{slug}.md"
    return path.read_text(encoding="utf-8") if _SLUG.fullmatch(slug) and path.is_file() else None


def dependents() -> Mapping[str, tuple[str, ...]]:
    """Signal → names of the rules that have nothing to judge without it, in order of the documents."""
    found: dict[str, dict[str, None]] = {}
    for rule in rulebook().rules:
        for operand in rule.when.operands if rule.when else ():
            found.setdefault(operand.signal, {})[rule.name] = None
    for watch in anomaly_policy().watch:
        found.setdefault(watch.signal, {})[watch.rule] = None
    return {signal: tuple(rules) for signal, rules in found.items()}


def _detectors(name: str) -> tuple[object, str]:
    path = shipped(Folder.MODELS) / "detectors" / name
    return yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)), name  # noqa: S506 - both are safe loaders
