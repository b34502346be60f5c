"""The documents of ``models/causes``: what each known fault looks like, what it is mistaken for, and what to do.

A signature is judged by :mod:`aiops.diagnose.causes`. Here the documents are checked: every name in them exists.
"""

from collections.abc import Mapping
from typing import Annotated, Self

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from aiops.detect.policy import parse_document
from aiops.diagnose.condition import Clause
from aiops.kit import own_yaml
from aiops.kit.settings import Section
from aiops.signals.types import EntityKind

_SLUG = "^[a-z0-9]+(-[a-z0-9]+)*$"
ACTIONS = "actions.yaml"
"""The document that lists the actions; all others hold signatures."""


def _parsed(value: object) -> object:
    return Clause.parse(value) if isinstance(value, str) else value


ClauseText = Annotated[Clause, BeforeValidator(_parsed), PlainSerializer(lambda value: value.text, return_type=str)]


class Signature(Section, arbitrary_types_allowed=True):
    """One fault."""

    id: str = Field(pattern=_SLUG)
    """Identity; runbooks, feedback and translations refer to it."""
    title: str = Field(min_length=1)
    """One line for people, without a full stop."""
    at: EntityKind
    """What sort of entity has the fault."""
    requires: tuple[ClauseText, ...] = Field(min_length=1)
    """All must hold."""
    supports: tuple[ClauseText, ...] = ()
    """Each that holds makes it likelier, each that does not hold less so."""
    denies: tuple[ClauseText, ...] = ()
    """None may hold."""
    explains: tuple[str, ...] = ()
    """Faults that follow from this one: where both fit, this one goes first."""
    look_alikes: tuple[str, ...] = ()
    """Faults that look similar; they are told as ruled out where they are."""
    fix: str = Field(min_length=1)
    """What to do, in a sentence."""
    actions: tuple[str, ...] = Field(min_length=1)
    """Ids from the list of actions, in order."""
    runbook: str = Field(pattern=_SLUG)
    """Slug of a page in ``alert_rules/runbooks``."""


class _Document(Section):
    causes: tuple[Signature, ...]


class _ActionDocument(Section):
    actions: dict[str, str]


class CauseBook(Section):
    """All signatures and all actions."""

    causes: tuple[Signature, ...]
    actions: dict[str, str]

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [one.id for one in self.causes]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"these causes are there twice: {', '.join(twice)}")
        for one in self.causes:
            for field, names, known in (
                ("explains", one.explains, ids),
                ("look_alikes", one.look_alikes, ids),
                ("actions", one.actions, self.actions),
            ):
                if strangers := [name for name in names if name not in known]:
                    raise ValueError(f"cause {one.id}: {field}: there is no {', '.join(strangers)}")
        if circle := self._in_a_circle():
            raise ValueError(f"these causes explain one another in a circle: {', '.join(circle)}")
        return self

    @classmethod
    def parse(cls, documents: Mapping[str, str]) -> Self:
        """Read YAML texts by file name; raises ValueError that names the file and each wrong place."""
        actions = parse_document(_ActionDocument, _load(documents, ACTIONS), ACTIONS).actions
        causes = [
            signature
            for name in sorted(documents)
            if name != ACTIONS
            for signature in parse_document(_Document, _load(documents, name), name).causes
        ]
        return parse_document(cls, {"causes": causes, "actions": actions}, "models/causes")

    def _in_a_circle(self) -> list[str]:
        left = {one.id: set(one.explains) for one in self.causes}
        while free := [name for name, explains in left.items() if not explains & left.keys()]:
            for name in free:
                del left[name]
        return sorted(left)


def _load(documents: Mapping[str, str], name: str) -> object:
    try:
        return own_yaml.load(documents[name])
    except KeyError:
        raise ValueError(f"{name} is missing") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: not YAML: {error}") from None
