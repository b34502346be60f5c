"""Reading queries of boards in tests: their selectors, and whether they must find something."""

import re
from collections.abc import Callable

SELECTOR = re.compile(r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{(?P<inside>(?:[^"{}]|"(?:\\.|[^"\\])*")*)\}')


def selectors(expr: str) -> list[tuple[str, str]]:
    """(metric, matchers) of every selector."""
    return [(found["name"], found["inside"]) for found in SELECTOR.finditer(expr)]


_CALL = re.compile(
    r"(?:(?:sum|max|min|avg|count|group)\s*(?:(?:by|without)\s*\([^)]*\)\s*)?|[a-z_]+)?\((?P<inside>.*)\)(?:\[[^\]]+\])?",
    re.DOTALL,
)


def expects(expr: str, present: Callable[[str], bool]) -> bool:
    """Whether a query must find something, if it is right, on a page of which we know what it shows.

    ``present`` is asked for each selector as it is written. One alternative is enough; arithmetic needs both sides;
    a comparison may always come out empty, so it promises nothing.
    """
    expr = expr.strip()
    if len(parts := split(expr, "or")) > 1:
        return any(expects(part, present) for part in parts)
    comparison = (">", "<", "==", "unless")
    for operators in (("and",), comparison, ("+", "-", "*", "/")):  # the weakest binds last
        if len(parts := split(expr, *operators)) > 1:
            return operators is not comparison and all(expects(part, present) for part in parts if part)
    if SELECTOR.fullmatch(re.sub(r"\[[^\]]+\]$", "", expr)):
        return present(re.sub(r"\[[^\]]+\]$", "", expr))
    if not selectors(expr):
        return True  # a number, time(), a text
    call = _CALL.fullmatch(expr)
    assert call, f"cannot read {expr!r}"
    return all(expects(part, present) for part in split(call["inside"], ",") if selectors(part))


def split(expr: str, *operators: str) -> list[str]:
    """Parts between operators that stand outside of brackets and texts; operators have blanks around them."""
    words = "|".join(re.escape(one) for one in operators)
    pattern = re.compile(r",\s" if operators == (",",) else rf"\s(?:{words})\s(?:on \([^)]*\)\s)?")
    found, depth, begin, at = [], 0, 0, 0
    while at < len(expr):
        if expr[at] == '"':
            at = re.compile(r'"(?:\\.|[^"\\])*"').match(expr, at).end()  # type: ignore[union-attr]  # texts end
            continue
        depth += (expr[at] in "({[") - (expr[at] in ")}]")
        if depth == 0 and (hit := pattern.match(expr, at)):
            found.append(expr[begin:at].strip())
            begin = at = hit.end()
            continue
        at += 1
    return [*found, expr[begin:].strip()]
