"""Text from outside made safe to print: one line, no terminal commands, no invisible reordering.

Metric labels, error texts and LLM answers are chosen by strangers. Whatever prints or logs them goes through here.
"""

import re

# C0 and C1 controls, zero-width and bidirectional marks, line and paragraph separators, lone surrogates.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def printable(text: str) -> str:
    r"""Replace every control or invisible character by a visible escape (``\n``, ``\u001b``); always one line.

    Inside a JSON string literal the result is still valid JSON with the same meaning.
    """
    return UNSAFE.sub(_escape, text)


def clipped(text: str, limit: int) -> str:
    """Cut after ``limit`` characters; the last one becomes ``…`` when something was cut."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"
