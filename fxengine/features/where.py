"""Reads a filter such as "label == 'cats' and width > 500": Python's syntax, a short list of what may stand in it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import InputError, first_line

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
# Arrow goes through conditions by calling itself, and dies of too many; this file does, too.
_DEEPEST, _MOST = 100, 1000
_SHOWN = 200  # characters of a filter in a sentence
_ALLOWED = "columns, texts and numbers with == != < <= > >=, in (...), is None, and, or, not"


def matching(table: pa.Table, where: str) -> np.ndarray:
    """Return which rows of a table a filter lets through, bool [n].

    As in SQL, a comparison with an empty cell lets a row through neither way; `label is None` finds those.

    Raises:
        InputError: the filter is not of that kind, or names a column that is not there; lists what is.
    """
    expression = parse(where, table.column_names)
    numbered = table.append_column("", pa.array(np.arange(len(table))))
    try:
        kept = numbered.filter(expression)[""]
    except pa.ArrowException as error:
        raise _not_comparable(where, error) from error
    found = np.zeros(len(table), bool)
    found[np.asarray(kept)] = True
    return found


def parse(where: str, columns: list[str]) -> pc.Expression:
    """Return a filter as a pyarrow expression over `columns`; raises InputError."""
    try:
        tree = ast.parse(where.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"`where` {_short(where)!r} is no expression. It takes {_ALLOWED}.") from error
    try:
        return _Reader(where, columns).condition(tree.body)
    except (OverflowError, UnicodeError, pa.ArrowException) as error:
        raise _not_comparable(where, error) from error


def _not_comparable(where: str, error: Exception) -> InputError:
    return InputError(f"`where` {_short(where)!r} compares what cannot be compared: {first_line(error)}.")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


class _Reader:
    """Turns the nodes of one filter into expressions, and refuses every node that is not on the list."""

    def __init__(self, where: str, columns: list[str]) -> None:
        self._where = _short(where)
        self._source = where.strip()
        self._columns = columns
        self._count = 0

    def condition(self, node: ast.expr, depth: int = 1) -> pc.Expression:
        if depth > _DEEPEST:
            raise InputError(f"`where` {self._where!r}: conditions lie more than {_DEEPEST} deep within each other.")
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            return reduce(join, (self.condition(value, depth + 1) for value in node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.condition(node.operand, depth + 1)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            return reduce(operator.and_, map(self._compare, sides, node.ops, sides[1:]))
        self._refuse(node)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        self._count += 1
        if self._count > _MOST:
            raise InputError(
                f"`where` {self._where!r} holds more than {_MOST} conditions. `in (...)` takes any number of values."
            )
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                self._refuse(right)
            found = self._value(left).isin([self._constant(value) for value in right.elts])
            return found if isinstance(op, ast.In) else ~found
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                self._refuse(right)
            empty = self._value(left).is_null()
            return empty if isinstance(op, ast.Is) else ~empty
        return _COMPARE[type(op)](self._value(left), self._value(right))

    def _value(self, node: ast.expr) -> pc.Expression:
        if isinstance(node, ast.Name):
            if node.id not in self._columns:
                raise InputError(
                    f"`where` {self._where!r}: there is no column {node.id!r}. There is: {', '.join(self._columns)}."
                )
            return pc.field(node.id)
        return pc.scalar(self._constant(node))

    def _constant(self, node: ast.expr) -> str | int | float:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inside = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        value = inside.value if isinstance(inside, ast.Constant) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value if negative else value
        if isinstance(value, str) and not negative:
            return value
        self._refuse(node)

    def _refuse(self, node: ast.AST) -> NoReturn:
        shown = _short(ast.get_source_segment(self._source, node) or type(node).__name__)
        raise InputError(f"`where` {self._where!r}: {shown!r} may not stand there. It takes {_ALLOWED}.")
