"""Regular expressions from configuration that cannot hang the daemon.

Prometheus uses RE2, which takes linear time. Python backtracks: ``(a+)+$`` against 64 letters never ends. So an
expression is taken only when the number of ways through it, over values of a useful length, has a bound.
"""

import math
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]  # no public way to look into an expression
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MOST_REGEX_CHARACTERS = 1000
MOST_VALUE_CHARACTERS = 1024
LEAST_VALUE_CHARACTERS = 64
MOST_WAYS = 2e7
"""Lets three open repeats see a DNS name (253 characters); a fraction of a second at worst."""

_NOT_IN_RE2 = {
    codes.GROUPREF: "a back reference",
    codes.GROUPREF_EXISTS: "a conditional group",
    codes.ASSERT: "a look-around",
    codes.ASSERT_NOT: "a look-around",
    codes.ATOMIC_GROUP: "an atomic group",
    codes.POSSESSIVE_REPEAT: "a possessive repeat",
}


class ValueTooLong(ValueError):
    """The value is longer than the expression may safely see."""


class BoundedRegex:
    """An expression in the common part of RE2 and Python, anchored at both ends as Prometheus does.

    As in RE2, ``\\d``, ``\\w`` and ``\\s`` are ASCII; as in Prometheus, a dot also matches a line break.

    Parameters
    ----------
    text
        At most 1000 characters.

    Raises
    ------
    ValueError
        When it is no regular expression, uses what RE2 lacks, or could take exponential time.

    Attributes
    ----------
    longest_value
        Characters, 64 … 1024: how long a value it may be matched against.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MOST_REGEX_CHARACTERS:
            raise ValueError(f"regex has {len(text)} characters, expected at most {MOST_REGEX_CHARACTERS}")
        self.text = text
        flags = re.ASCII | re.DOTALL
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # "[[:alpha:]]" means another thing here than in RE2
                self._compiled = re.compile(text, flags)
                tree = parser.parse(text, flags)
            self.longest_value = _longest_value(tree)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"regex {text!r} cannot be read: {error}") from None
        except Warning as error:
            raise ValueError(f"regex {text!r} is ambiguous: {error}; POSIX classes are not supported") from None
        if self.longest_value < LEAST_VALUE_CHARACTERS:
            raise ValueError(
                f"regex {text!r} could take exponential time; avoid repeats or alternatives inside a repeat "
                "such as (a+)+ or (a|b)*, and more than three open repeats"
            )

    def fullmatch(self, value: str) -> re.Match[str] | None:
        """Match the whole value; ValueTooLong when it exceeds ``longest_value``."""
        if len(value) > self.longest_value:
            raise ValueTooLong(f"value has {len(value)} characters; {self.text!r} may see {self.longest_value}")
        return self._compiled.fullmatch(value)


@lru_cache(maxsize=1024)
def bounded(text: str) -> BoundedRegex:
    """The :class:`BoundedRegex` of ``text``, made once."""
    return BoundedRegex(text)


def _longest_value(tree: Sequence[Any]) -> int:
    """Largest length (≤ 1024) whose ways through the expression stay under the bound; 0 when none does."""
    low, high = 0, MOST_VALUE_CHARACTERS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _ways(tree, middle) <= MOST_WAYS else (low, middle - 1)
    return low


def _ways(tree: Sequence[Any], length: int) -> float:
    """Upper bound of the ways in which the backtracking engine can walk through a sequence of nodes.

    A sequence multiplies, alternatives add, an open repeat of a fixed body can stop in ``length + 1`` places, and
    an open repeat of a body that has a choice has no useful bound (infinity).
    """
    return math.prod(_ways_of_node(code, argument, length) for code, argument in tree)


def _ways_of_node(code: Any, argument: Any, length: int) -> float:
    if code in _NOT_IN_RE2:
        raise re.error(f"{_NOT_IN_RE2[code]} is not part of RE2")
    if code is codes.SUBPATTERN:
        return _ways(argument[3], length)
    if code is codes.BRANCH:
        return sum(_ways(alternative, length) for alternative in argument[1])
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        least, most, body = argument
        inside = _ways(body, length)
        if inside == 1:
            return float(min(most - least, length) + 1)
        return math.inf if most > MOST_REGEX_CHARACTERS else _geometric_sum(inside, least, most)
    return 1.0


def _geometric_sum(base: float, first: int, last: int) -> float:
    """``base**first + … + base**last``, infinity when it overflows."""
    try:
        return sum(base**power for power in range(first, last + 1))
    except OverflowError:
        return math.inf
