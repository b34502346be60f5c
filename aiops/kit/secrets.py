"""Secrets: how they come in (``${NAME}`` in configuration) and how they stay out of everything printed.

One redactor serves the whole process. Whoever learns a secret registers it; whoever prints text passes it through
:func:`redact`. Redaction is the last net: secrets live in ``Secret`` fields that print nothing by themselves.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

MASK = "<secret>"
# Shorter values would blank out innocent words all over the logs.
SHORTEST_SECRET = 6

_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(?=\{)(?!\{\d+\}))")
# Every pattern starts at a literal and its run cannot contain that literal again: matching stays linear.
_USERINFO = re.compile(r"://[^\s/?#\"'<>\\]*@")
_AUTHORIZATION = re.compile(
    r"(?i)(authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:(?:basic|bearer|digest)\s+)?)[^\s\"',}]+"
)
_PARAMETER = re.compile(
    r"(?i)([?&](?:access_token|api[_-]?key|auth|key|passw(?:or)?d|secret|sig|signature|token)=)[^&\s\"'#]+"
)
_SECRET_NAME = re.compile(r"(?i)(passw(or)?d|passphrase|secret|token|credential|api_?key|private_?key|authorization)$")


class UnsetVariableError(ValueError):
    """A ``${NAME}`` names an environment variable that is not set, or is malformed."""


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Replace ``${NAME}`` and ``${NAME:-default}`` by environment variables, and ``$$`` by ``$``.

    A lone ``$`` and ``${1}`` stay as they are: they are regular expressions and replacements of relabelling.

    Returns
    -------
    The expanded text and the names of the variables whose values went into it.

    Raises
    ------
    UnsetVariableError
        A variable is not set and has no default, or ``${`` is not followed by ``NAME}``.
    """
    used: list[str] = []

    def value_of(match: re.Match[str]) -> str:
        dollar, name, default = match.groups()
        if dollar:
            return "$"
        if name is None:
            raise UnsetVariableError("'${' must be followed by NAME}; write '$${' for the characters themselves")
        value = environ.get(name) or default
        if value is None:
            raise UnsetVariableError(
                f"environment variable {name} is not set; write ${{{name}:-default}} to allow that"
            )
        used.append(name)
        return value

    return _REFERENCE.sub(value_of, text), tuple(used)


def is_secret_name(name: str) -> bool:
    """Whether a key, header or variable of this name usually holds a secret (``…_TOKEN``, ``password``, …)."""
    return _SECRET_NAME.search(name.replace("-", "_")) is not None


class Redactor:
    """Masks registered values, user info in URLs, authorization headers and secret query parameters."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._registered: re.Pattern[str] | None = None

    def register(self, *values: str) -> None:
        """Never print these values again; values shorter than ``SHORTEST_SECRET`` are ignored."""
        new = {form for value in values if len(value) >= SHORTEST_SECRET for form in (value, quote(value, safe=""))}
        if not new <= self._values:
            self._values |= new
            longest_first = sorted(self._values, key=lambda value: (-len(value), value))
            self._registered = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """``text`` with everything secret replaced by ``<secret>``."""
        if self._registered is not None:
            text = self._registered.sub(MASK, text)
        text = _USERINFO.sub(f"://{MASK}@", text) if "@" in text else text
        text = _PARAMETER.sub(rf"\g<1>{MASK}", text) if "=" in text else text
        return _AUTHORIZATION.sub(rf"\g<1>{MASK}", text)


_PROCESS = Redactor()
register = _PROCESS.register
redact = _PROCESS.redact
