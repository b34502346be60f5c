"""The rule pack of this checkout: ``models/rules`` and the engine profiles in, files of ``alert_rules`` out."""

from collections.abc import Callable, Mapping
from functools import cache

import yaml

from aiops.app.presets import Folder, engine_profiles, shipped
from aiops.render.rules import RuleFile, operator_text, rule_files, rule_text
from aiops.render.rules_pack import AlertFile, Pack, parse_alerts, parse_pack

_PACK = ("records.yaml", "objectives.yaml")
_ALERTS = "alerts-"


def pack() -> Pack:
    """Records, objectives and labels, from ``models/rules``; words for Xid errors from ``models/gpus``.

    Raises
    ------
    ValueError
        A document is bad; names the file and the place.
    """
    folder = shipped(Folder.MODELS) / "rules"
    found = parse_pack({name: (folder / name).read_text(encoding="utf-8") for name in _PACK})
    return found.model_copy(update={"words": {**found.words, **_xid_words()}})


def alert_files() -> dict[str, AlertFile]:
    """Alerts by file, from ``models/rules/alerts-*.yaml``."""
    folder = shipped(Folder.MODELS) / "rules"
    return {
        path.stem.removeprefix(_ALERTS): parse_alerts(path.read_text(encoding="utf-8"), path.name)
        for path in sorted(folder.glob(f"{_ALERTS}*.yaml"))
    }


@cache
def files() -> tuple[RuleFile, ...]:
    """All files of the pack."""
    return rule_files(pack(), engine_profiles(), alert_files())


def generated() -> Mapping[str, Callable[[], str]]:
    """Path in the checkout → what must stand there."""
    texts: dict[str, Callable[[], str]] = {
        f"alert_rules/{file.name}.rules.yaml": lambda file=file: rule_text(file)  # type: ignore[misc]  # bound now
        for file in files()
    }
    return {**texts, "deploy/prometheus-rules.yaml": lambda: operator_text(files())}


def _xid_words() -> dict[str, str]:
    """Xid errors by class, as alternatives of a regular expression."""
    path = shipped(Folder.MODELS) / "gpus" / "nvidia.yaml"
    table = yaml.safe_load(path.read_text(encoding="utf-8"))["xids"]

    def numbers(severity: str, *, application: bool) -> str:
        rows = table.items()
        return "|".join(
            str(number)
            for number, row in rows
            if row["severity"] == severity and (row["family"] == "application") == application
        )

    return {
        "xid_fatal": numbers("critical", application=False),
        "xid_degraded": numbers("warning", application=False),
        "xid_application": numbers("warning", application=True),
        "xid_known": "|".join(str(number) for number in table),
    }
