"""Reversible pseudonyms: nothing that names a machine, a person or a secret leaves in a prompt.

Known names (values of labels) and whatever looks like an address, a host, a mail address, an identifier or a path
become ``pool-x1``, ``host-x2``, …; :meth:`Disguise.reveal` turns them back in the answer. What looks like a credential
becomes ``<secret>`` and never comes back.
"""

import re
from collections.abc import Iterable
from functools import partial

from aiops.explain.lexicon import KNOWN_WORDS
from aiops.kit.secrets import MASK, redact
from aiops.signals.types import Entity

_CREDENTIAL = re.compile(
    r"\b(?:sk|pk|rk|ghp|gho|ghs|glpat|hf|xox[abpr]|AKIA|ASIA|AIza)[-_A-Za-z0-9]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?i:\b(?:password|passwd|secret|token|api[_-]?key)\b\s{0,3}[=:]\s{0,3})[^\s,;\"']+"
    r"|-----BEGIN [A-Z ]{3,30}-----"
)
_SHAPES = (
    ("user", re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")),
    ("id", re.compile(r"\b(?:GPU-|MIG-)?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b[0-9a-fA-F]{16,}\b")),
    ("host", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.])|\[[0-9a-fA-F:]{4,}\](?::\d{1,5})?")),
    ("host", re.compile(r"\b(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b")),
    ("host", re.compile(r"(?<![\w.])(?:[a-zA-Z0-9_-]{1,63}\.){1,5}[a-zA-Z]{2,24}(?::\d{1,5})?(?![\w])")),
    ("host", re.compile(r"\b[a-zA-Z][\w-]{0,62}:\d{2,5}\b")),
    ("path", re.compile(r"(?<![\w<])(?:/[\w.-]+){2,}")),
)
_ALIAS = re.compile(r"\b[a-z][a-z_]*-x\d+\b")
_KINDS = {"model_name": "model", "instance": "replica", "gpu_uuid": "id", "uuid": "id"}


class Disguise:
    """The pseudonyms of one conversation; the same name has the same pseudonym throughout."""

    def __init__(self, entities: Iterable[Entity] = ()) -> None:
        self._alias: dict[str, str] = {}
        self._real: dict[str, str] = {}
        for entity in entities:
            for label, value in entity.labels:
                if not value.isdigit() and value.lower() not in KNOWN_WORDS:
                    self._named(value, _KINDS.get(label, label))
        names = sorted(self._alias, key=lambda name: (-len(name), name))
        self._names = re.compile("|".join(rf"(?<![\w]){re.escape(name)}(?![\w])" for name in names)) if names else None

    def _named(self, real: str, kind: str) -> str:
        if real not in self._alias:
            number = 1 + sum(alias.rpartition("-")[0] == kind for alias in self._real)
            alias = f"{kind}-x{number}"
            self._alias[real], self._real[alias] = alias, real
        return self._alias[real]

    def hide(self, text: str) -> str:
        """The text as it may leave."""
        text = _CREDENTIAL.sub(MASK, redact(text))
        if self._names is not None:
            text = self._names.sub(lambda match: self._alias[match.group()], text)
        for kind, shape in _SHAPES:
            text = shape.sub(partial(self._shaped, kind), text)
        return text

    def _shaped(self, kind: str, match: re.Match[str]) -> str:
        real = match.group()
        return real if real in self._real else self._named(real, kind)

    def reveal(self, text: str) -> str:
        """An answer with the real names; a pseudonym that was never given stays as it is."""
        return _ALIAS.sub(lambda match: self._real.get(match.group(), match.group()), text)
