"""Reading queries of boards in tests: their selectors, and their alternatives."""

import re

SELECTOR = re.compile(r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{(?P<inside>(?:[^"{}]|"(?:\\.|[^"\\])*")*)\}')


def selectors(expr: str) -> list[tuple[str, str]]:
    """(metric, matchers) of every selector."""
    return [(found["name"], found["inside"]) for found in SELECTOR.finditer(expr)]


def alternatives(expr: str) -> list[str]:
    """Parts between the outermost ``or``."""
    found, depth, begin, quoted = [], 0, 0, False
    for at, letter in enumerate(expr):
        if letter == '"' and expr[at - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (letter in "({[") - (letter in ")}]")
            if depth == 0 and re.match(r"\sor\s", expr[at : at + 4]):
                found.append(expr[begin:at])
                begin = at + 4
    return [part.strip() for part in (*found, expr[begin:])]
