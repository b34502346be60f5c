"""What the settings say about single rules: which severity instead of the shipped one, and which are off."""

from difflib import get_close_matches
from typing import TypeVar

from aiops.detect.policy import AnomalyPolicy, Watch, not_critical
from aiops.detect.rules import Rule, RuleBook
from aiops.detect.settings import DetectSettings

_Item = TypeVar("_Item", Watch, Rule)


def overridden(item: _Item, name: str, settings: DetectSettings) -> _Item:
    """A rule with the severity that the settings give it."""
    severity = settings.severity.get(name)
    return item if severity is None else item.model_copy(update={"severity": severity})


def check_overrides(settings: DetectSettings, policy: AnomalyPolicy, rulebook: RuleBook) -> None:
    """Refuse, with ValueError, settings that name a rule that does not exist, or make a statistical one critical."""
    statistical = {watch.rule for watch in policy.watch}
    deterministic = {rule.name for rule in rulebook.rules}
    both = sorted(statistical & deterministic)
    if both:
        raise ValueError(f"these rules are both statistical and deterministic: {', '.join(both)}")
    for name in (*settings.disable, *settings.severity):
        if name not in statistical | deterministic:
            close = get_close_matches(name, statistical | deterministic, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"detect: there is no rule {name!r}{hint}")
    for name in statistical & set(settings.severity):
        not_critical(settings.severity[name], f"detect.severity: statistical rule {name}")
