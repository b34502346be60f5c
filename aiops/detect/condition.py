"""A small language for conditions over the signals of one entity, evaluated for all entities at once.

``running > 0 and tokens_out == 0 and not surely(sleeping > 0)``

Text becomes closures over arrays: parsed with :mod:`ast`, every node checked against a list, nothing is ever
executed as Python. Truth has three values. A comparison with an unknown operand is unknown; ``and``, ``or`` and
``not`` follow Kleene (false and unknown = false, true or unknown = true), so that a missing signal can neither
raise an alert nor clear one.

========================  ========================================================================================
``signal``                newest value, a name of the catalogue
``signal.p95``            a statistic of a distribution: ``mean p50 p95 p99 rate``
``+ - * /``               arithmetic; a result that is not finite is unknown
``< <= > >= == !=``       comparison, also chained
``and or not``            three-valued logic
``known(x)``              whether the operand has a value now; never unknown
``surely(condition)``     true where it is true, false where it is false or unknown
``highest(x, n)``         largest known value of a signal in the last n points; ``lowest`` likewise
``unchanged(x, n)``       the last n points are one and the same number; unknown while too few are known
``average(x, n)``         mean of the known values in the last n points: of a share, its share of that time
``peers(x)``              median of the others: replicas of the pool, GPUs of the node; unknown without another
``seconds_until(x, y, n)``  seconds until a straight line through the last n points reaches y; 0 when it is reached,
                          infinite unless every point of the last third lies above all of the first third
``lead_time``             seconds that a new replica needs until it serves: set, observed or assumed
========================  ========================================================================================
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aiops.signals.catalog import SIGNALS, stats_of

MAX_LENGTH = 500
MAX_DEPTH = 24
MAX_POINTS = 10_000

_Numbers = NDArray[np.float64]
_Mask = NDArray[np.bool_]


class Operand(NamedTuple):
    """A signal and its statistic."""

    signal: str
    stat: str = ""

    def __str__(self) -> str:
        return f"{self.signal}.{self.stat}" if self.stat else self.signal


class Truth(NamedTuple):
    """Three-valued: bool [entities] each, never both; neither = unknown."""

    true: _Mask
    false: _Mask


class Frame(Protocol):
    """The entities that a condition is evaluated for."""

    def now(self, operand: Operand) -> _Numbers:
        """Newest values, float64 [entities], NaN = unknown."""
        ...

    def last(self, operand: Operand, points: int) -> NDArray[np.float32]:
        """Values of the last points, float32 [≤ points, entities], NaN = unknown."""
        ...

    def peers(self, operand: Operand) -> _Numbers:
        """Median of the newest values of the others of each entity's group, float64 [entities], NaN = unknown."""
        ...

    @property
    def step_seconds(self) -> float:
        """Time between two points."""
        ...

    @property
    def lead_seconds(self) -> _Numbers:
        """Time that a new replica of each entity's pool needs until it serves, float64 [entities]."""
        ...


_Number = Callable[[Frame], _Numbers]
_Condition = Callable[[Frame], Truth]

_COMPARE: dict[type[ast.cmpop], np.ufunc] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_FUNCTIONS = "highest(x, n), lowest(x, n), average(x, n), peers(x), seconds_until(x, limit, n)"
_ARITHMETIC: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition.

    Attributes
    ----------
    operands
        What it reads, in order of first mention; the first one names the series that an alert is about.
    """

    text: str
    operands: tuple[Operand, ...]
    _evaluate: _Condition
    _parts: tuple[tuple[str, _Condition], ...]

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition; raises ValueError that quotes the part that is not understood."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"a condition has at most {MAX_LENGTH} characters, this one has {len(text)}")
        try:
            tree = ast.parse(" ".join(text.split()), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"condition {text!r} cannot be read: {error}") from None
        if _depth(tree) > MAX_DEPTH:
            raise ValueError(f"condition {text!r} nests more than {MAX_DEPTH} deep")
        reader = _Reader(text)
        evaluate = reader.condition(tree.body)
        if not reader.operands:
            raise ValueError(f"condition {text!r} names no signal")
        joined = tree.body.values if isinstance(tree.body, ast.BoolOp) and isinstance(tree.body.op, ast.And) else ()
        parts = tuple((ast.unparse(part), reader.condition(part)) for part in joined or (tree.body,))
        return cls(" ".join(text.split()), tuple(reader.operands), evaluate, parts)

    def evaluate(self, frame: Frame) -> Truth:
        """Truth for every entity of the frame."""
        with np.errstate(all="ignore"):
            return self._evaluate(frame)

    def each(self, frame: Frame) -> list[tuple[str, Truth]]:
        """Truth of each part that must hold, in order, for every entity of the frame."""
        with np.errstate(all="ignore"):
            return [(text, evaluate(frame)) for text, evaluate in self._parts]


class _Reader:
    """Turns checked nodes into closures; collects the operands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.operands: dict[Operand, None] = {}

    def condition(self, node: ast.expr) -> _Condition:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return _all([self.condition(value) for value in values])
            case ast.BoolOp(op=ast.Or(), values=values):
                return _not(_all([_not(self.condition(value)) for value in values]))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return _not(self.condition(inner))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparison([left, *rights], ops, node)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments, node)
        raise self.error(node, "expected a condition (a comparison, and, or, not, surely, known, unchanged)")

    def number(self, node: ast.expr) -> _Number:
        match node:
            # bool is an int: True must not pass for 1.
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                constant = np.float64(value)
                return lambda _frame: np.asarray(constant)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                operand = self.number(inner)
                return lambda frame: -operand(frame)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _arithmetic(_ARITHMETIC[type(op)], self.number(left), self.number(right))
            case ast.Name(id="lead_time"):
                return lambda frame: frame.lead_seconds
            case ast.Name() | ast.Attribute():
                signal = self._operand(node)
                return lambda frame: frame.now(signal)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._function(name, arguments, node)
        raise self.error(node, f"expected a number, a signal, arithmetic, lead_time, or one of {_FUNCTIONS}")

    def error(self, node: ast.AST, expected: str) -> ValueError:
        return ValueError(f"condition {self._text!r}: {ast.unparse(node)!r} is not understood: {expected}")

    def _comparison(self, nodes: list[ast.expr], ops: list[ast.cmpop], node: ast.expr) -> _Condition:
        if not {type(op) for op in ops} <= set(_COMPARE):
            raise self.error(node, "expected one of < <= > >= == !=")
        sides = [self.number(side) for side in nodes]
        return _all([_compare(_COMPARE[type(op)], sides[i], sides[i + 1]) for i, op in enumerate(ops)])

    def _call(self, name: str, arguments: list[ast.expr], node: ast.expr) -> _Condition:
        match name, arguments:
            case "surely", [inner]:
                return _surely(self.condition(inner))
            case "known", [of]:
                return _known(self._operand(of))
            case "unchanged", [of, points]:
                return _unchanged(self._operand(of), self._points(points))
        raise self.error(node, "expected surely(condition), known(signal) or unchanged(signal, points)")

    def _function(self, name: str, arguments: list[ast.expr], node: ast.expr) -> _Number:
        match name, arguments:
            case "highest" | "lowest", [of, points]:
                reduce = np.fmax if name == "highest" else np.fmin
                return _extreme(reduce, self._operand(of), self._points(points))
            case "average", [of, points]:
                return _average(self._operand(of), self._points(points))
            case "peers", [of]:
                member = self._operand(of)
                return lambda frame: frame.peers(member)
            case "seconds_until", [of, limit, points]:
                return _seconds_until(self._operand(of), self.number(limit), self._points(points))
        raise self.error(node, f"expected one of {_FUNCTIONS}")

    def _operand(self, node: ast.expr) -> Operand:
        match node:
            case ast.Name(id=signal):
                operand = Operand(signal)
            case ast.Attribute(value=ast.Name(id=signal), attr=stat):
                operand = Operand(signal, stat)
            case _:
                raise self.error(node, "expected a signal")
        if operand.signal not in SIGNALS:
            raise self.error(node, "no signal of the catalogue has this name")
        if operand.stat not in stats_of(SIGNALS[operand.signal]):
            possible = ", ".join(stat or "none" for stat in stats_of(SIGNALS[operand.signal]))
            raise self.error(node, f"{operand.signal} has these statistics: {possible}")
        self.operands.setdefault(operand)
        return operand

    def _points(self, node: ast.expr) -> int:
        match node:
            case ast.Constant(value=value) if type(value) is int and 1 <= value <= MAX_POINTS:
                return value
        raise self.error(node, f"expected a number of points from 1 to {MAX_POINTS}")


def _depth(tree: ast.AST) -> int:
    """Longest way from the root to a leaf, found without recursion."""
    deepest, stack = 0, [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        stack += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
    return deepest


def _all(parts: list[_Condition]) -> _Condition:
    def evaluate(frame: Frame) -> Truth:
        truth = parts[0](frame)
        for part in parts[1:]:
            if truth.false.all():  # nothing can change any more, and looking back over many points is dear
                break
            other = part(frame)
            truth = Truth(truth.true & other.true, truth.false | other.false)
        return truth

    return evaluate


def _not(inner: _Condition) -> _Condition:
    def evaluate(frame: Frame) -> Truth:
        true, false = inner(frame)
        return Truth(false, true)

    return evaluate


def _surely(inner: _Condition) -> _Condition:
    def evaluate(frame: Frame) -> Truth:
        true = inner(frame).true
        return Truth(true, ~true)

    return evaluate


def _known(operand: Operand) -> _Condition:
    def evaluate(frame: Frame) -> Truth:
        known = ~np.isnan(frame.now(operand))
        return Truth(known, ~known)

    return evaluate


def _compare(compare: np.ufunc, left: _Number, right: _Number) -> _Condition:
    def evaluate(frame: Frame) -> Truth:
        a, b = np.broadcast_arrays(left(frame), right(frame))
        known = ~(np.isnan(a) | np.isnan(b))
        holds = compare(a, b)
        return Truth(holds & known, ~holds & known)

    return evaluate


def _arithmetic(function: np.ufunc, left: _Number, right: _Number) -> _Number:
    def evaluate(frame: Frame) -> _Numbers:
        result: _Numbers = function(left(frame), right(frame))
        return np.where(np.isfinite(result), result, np.nan)

    return evaluate


def _extreme(reduce: np.ufunc, operand: Operand, points: int) -> _Number:
    def evaluate(frame: Frame) -> _Numbers:
        return np.asarray(reduce.reduce(frame.last(operand, points), axis=0), np.float64)

    return evaluate


def _average(operand: Operand, points: int) -> _Number:
    def evaluate(frame: Frame) -> _Numbers:
        return _mean(frame.last(operand, points))

    return evaluate


def _mean(rows: NDArray[np.float32]) -> _Numbers:
    """Mean of what is known in each column; NaN where nothing is."""
    answer: _Numbers = np.nansum(rows, axis=0, dtype=np.float64) / np.isfinite(rows).sum(axis=0)
    return answer


def _seconds_until(operand: Operand, limit: _Number, points: int) -> _Number:
    # Two thirds apart, so that noise inside a third moves the line little; and no date without a sure rise.
    third = max(points // 3, 1)

    def evaluate(frame: Frame) -> _Numbers:
        rows, now = frame.last(operand, points), frame.now(operand)
        if len(rows) < points:
            return np.full(len(now), np.nan)
        first, last = rows[:third], rows[-third:]
        rising = np.fmin.reduce(last, axis=0) > np.fmax.reduce(first, axis=0)
        slope = (_mean(last) - _mean(first)) / ((points - third) * frame.step_seconds)
        left = np.maximum(limit(frame) - now, 0.0)
        seconds = np.where(rising, left / slope, np.where(left > 0.0, np.inf, 0.0))
        answer: _Numbers = np.where(np.isnan(left) | np.isnan(slope), np.nan, seconds)
        return answer

    return evaluate


def _unchanged(operand: Operand, points: int) -> _Condition:
    # Sources slower than the tick leave rows unknown between their answers; a quarter is enough to believe it.
    needed = min(points, max(3, points // 4))

    def evaluate(frame: Frame) -> Truth:
        rows = frame.last(operand, points)
        lowest, highest = np.fmin.reduce(rows, axis=0), np.fmax.reduce(rows, axis=0)
        enough = (len(rows) == points) & (np.isfinite(rows).sum(axis=0) >= needed)
        return Truth((lowest == highest) & enough, lowest < highest)

    return evaluate
