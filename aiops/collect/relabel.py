"""Prometheus relabelling: rules that rewrite the labels of a target before it is scraped, or drop it.

Same actions, defaults and corner cases as ``relabel_configs`` of Prometheus, so rules can be copied from there.
Differences, both on the safe side: an expression that could take exponential time is refused (see
:mod:`aiops.kit.regex`), and a value too long for its expression is an error, not a mismatch.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from aiops.kit.regex import bounded
from aiops.kit.settings import Section

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*+", re.ASCII)
_TEMPLATE_NAME = re.compile(r"(?:[a-zA-Z0-9_]|\$\{\w+\}|\$\w+)+", re.ASCII)
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


class Action(StrEnum):
    """What a rule does."""

    REPLACE = "replace"
    KEEP = "keep"
    DROP = "drop"
    KEEP_EQUAL = "keepequal"
    DROP_EQUAL = "dropequal"
    HASH_MOD = "hashmod"
    LABEL_MAP = "labelmap"
    LABEL_DROP = "labeldrop"
    LABEL_KEEP = "labelkeep"
    LOWER_CASE = "lowercase"
    UPPER_CASE = "uppercase"


_NEED_TARGET = {
    Action.REPLACE,
    Action.HASH_MOD,
    Action.LOWER_CASE,
    Action.UPPER_CASE,
    Action.KEEP_EQUAL,
    Action.DROP_EQUAL,
}


def is_label_name(name: str) -> bool:
    """Whether ``name`` can be the name of a Prometheus label."""
    return _LABEL_NAME.fullmatch(name) is not None


def _checked_regex(text: str) -> str:
    bounded(text)
    return text


class RelabelRule(Section):
    """One step. Named and defaulted as in Prometheus."""

    source_labels: tuple[str, ...] = ()
    """Labels whose values are joined and matched; absent ones count as empty."""
    separator: str = ";"
    """Between the joined values."""
    regex: Annotated[str, AfterValidator(_checked_regex)] = "(.*)"
    """RE2 expression, anchored at both ends. Nested repeats such as (a+)+ are refused."""
    target_label: str = ""
    """Label to write (replace, hashmod, lowercase, uppercase) or to compare with (keepequal, dropequal)."""
    replacement: str = "$1"
    """Template with $1, ${1}, ${name}; $$ is a dollar sign. Empty text removes the label."""
    modulus: Annotated[int, Field(ge=0)] = 0
    """Number of shards (hashmod)."""
    action: Action = Action.REPLACE
    """What to do."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.action in _NEED_TARGET and not self.target_label:
            raise ValueError(f"action {self.action} needs target_label")
        allowed = _TEMPLATE_NAME if self.action is Action.REPLACE else _LABEL_NAME
        if self.target_label and not allowed.fullmatch(self.target_label):
            raise ValueError(f"target_label {self.target_label!r} is not a label name")
        if self.action is Action.HASH_MOD and not self.modulus:
            raise ValueError("action hashmod needs a modulus of at least 1")
        return self


@dataclass(frozen=True, slots=True)
class Dropped:
    """A rule dropped the target, and why: ``rule 2 (keep): 'a' does not match 'b'``."""

    reason: str


def relabel(labels: Mapping[str, str], rules: Sequence[RelabelRule]) -> dict[str, str] | Dropped:
    """Apply the rules in order.

    Parameters
    ----------
    labels
        An empty value is the same as no label.

    Returns
    -------
    The new labels, without empty ones, or why the target was dropped.

    Raises
    ------
    aiops.kit.regex.ValueTooLong
        A value is longer than its expression may see.
    """
    current = {name: value for name, value in labels.items() if value}
    for number, rule in enumerate(rules, start=1):
        value = rule.separator.join(current.get(name, "") for name in rule.source_labels)
        reason = _STEPS[rule.action](current, rule, value)
        if reason:
            return Dropped(f"rule {number} ({rule.action}): {reason}")
    return current


def expand(template: str, match: re.Match[str]) -> str:
    """Fill ``$1``, ``${1}`` and ``${name}`` as Go does: an unknown group is empty, a stray ``$`` stays."""

    def group(reference: re.Match[str]) -> str:
        dollar, plain, braced = reference.groups()
        if dollar:
            return "$"
        name = plain or braced
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except (IndexError, ValueError):
            return ""

    return _REFERENCE.sub(group, template)


# --- the actions: each changes ``labels`` in place and returns why the target is dropped, or "" ---------------


def _replace(labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    match = bounded(rule.regex).fullmatch(value)
    if match is not None:
        name = expand(rule.target_label, match)
        if is_label_name(name):
            _set(labels, name, expand(rule.replacement, match))
    return ""


def _keep(_labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    return "" if bounded(rule.regex).fullmatch(value) else f"{value!r} does not match {rule.regex!r}"


def _drop(_labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    return f"{value!r} matches {rule.regex!r}" if bounded(rule.regex).fullmatch(value) else ""


def _keep_equal(labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    other = labels.get(rule.target_label, "")
    return "" if value == other else f"{value!r} is not equal to {rule.target_label}={other!r}"


def _drop_equal(labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    return f"{value!r} is equal to {rule.target_label}" if value == labels.get(rule.target_label, "") else ""


def _hash_mod(labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    labels[rule.target_label] = str(shard_hash(value) % rule.modulus)
    return ""


def _label_map(labels: dict[str, str], rule: RelabelRule, _value: str) -> str:
    for name, content in sorted(labels.items()):
        match = bounded(rule.regex).fullmatch(name)
        if match is not None and is_label_name(new_name := expand(rule.replacement, match)):
            labels[new_name] = content
    return ""


def _label_drop(labels: dict[str, str], rule: RelabelRule, _value: str) -> str:
    for name in [name for name in labels if bounded(rule.regex).fullmatch(name)]:
        del labels[name]
    return ""


def _label_keep(labels: dict[str, str], rule: RelabelRule, _value: str) -> str:
    for name in [name for name in labels if not bounded(rule.regex).fullmatch(name)]:
        del labels[name]
    return ""


def _lower_case(labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    _set(labels, rule.target_label, value.lower())
    return ""


def _upper_case(labels: dict[str, str], rule: RelabelRule, value: str) -> str:
    _set(labels, rule.target_label, value.upper())
    return ""


def shard_hash(value: str) -> int:
    """The hash that Prometheus shards with: the last 8 bytes of MD5, big-endian."""
    return int.from_bytes(hashlib.md5(value.encode(), usedforsecurity=False).digest()[8:], "big")


def _set(labels: dict[str, str], name: str, value: str) -> None:
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


_STEPS: dict[Action, Callable[[dict[str, str], RelabelRule, str], str]] = {
    Action.REPLACE: _replace,
    Action.KEEP: _keep,
    Action.DROP: _drop,
    Action.KEEP_EQUAL: _keep_equal,
    Action.DROP_EQUAL: _drop_equal,
    Action.HASH_MOD: _hash_mod,
    Action.LABEL_MAP: _label_map,
    Action.LABEL_DROP: _label_drop,
    Action.LABEL_KEEP: _label_keep,
    Action.LOWER_CASE: _lower_case,
    Action.UPPER_CASE: _upper_case,
}
