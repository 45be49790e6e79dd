"""Reads a filter such as "label == 'cats' and width > 500": Python's syntax, a short list of what may stand in it."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple, NoReturn

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
_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
_MOST_INTEGER = 2**63 - 1
# Arrow goes through conditions by calling itself, and dies of too many; this file does, too.
_DEEPEST, _MOST = 100, 1000
_SHOWN = 200  # characters of a filter in a sentence
_ALLOWED = "columns, texts, numbers, True and False with == != < <= > >=, in (...), is None, and, or, not"


def matching(table: pa.Table, where: str) -> np.ndarray:
    """Return which rows of a table a filter lets through, bool [n].

    As in SQL, a comparison with an empty cell lets a row through neither way; `label is None` finds those.

    Raises:
        InputError: the filter is not of that kind, or names a column that is not there; lists what is.
    """
    expression = parse(where, table.schema)
    numbered = table.append_column("", pa.array(np.arange(len(table))))
    try:
        kept = numbered.filter(expression)[""]
    except pa.ArrowException as error:
        raise _not_comparable(where, error) from error
    found = np.zeros(len(table), bool)
    found[np.asarray(kept)] = True
    return found


def parse(where: str, columns: pa.Schema) -> pc.Expression:
    """Return a filter as a pyarrow expression over these columns; raises InputError."""
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


class _Column(NamedTuple):
    name: str
    kind: pa.DataType

    @property
    def field(self) -> pc.Expression:
        return pc.field(self.name)


_Constant = str | int | float  # bool is an int


class _Reader:
    """Turns the nodes of one filter into expressions, and refuses every node that is not on the list."""

    def __init__(self, where: str, columns: pa.Schema) -> None:
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
            found = self._among(self._value(left), [self._constant(value) for value in right.elts])
            return found if isinstance(op, ast.In) else ~found
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                self._refuse(right)
            value = self._value(left)
            empty = value.field.is_null() if isinstance(value, _Column) else pc.scalar(False)
            return empty if isinstance(op, ast.Is) else ~empty
        return self._ordered(self._value(left), type(op), self._value(right))

    def _ordered(self, left: _Column | _Constant, op: type[ast.cmpop], right: _Column | _Constant) -> pc.Expression:
        if isinstance(left, _Column) and isinstance(right, _Column):
            if pa.types.is_floating(left.kind) != pa.types.is_floating(right.kind):
                return _COMPARE[op](_as_real(left), _as_real(right))
            return _COMPARE[op](left.field, right.field)
        if isinstance(right, _Column):
            return self._ordered(right, _TURNED.get(op, op), left)
        if not isinstance(left, _Column):
            self._ensure_alike(isinstance(left, str) == isinstance(right, str), left, right)
            return pc.scalar(bool(_COMPARE[op](left, right)))
        self._ensure_fits(left, right)
        if pa.types.is_integer(left.kind):
            return _of_integers(left.field, op, right)
        return _COMPARE[op](left.field, pc.scalar(_scalar(right, left.kind)))

    def _among(self, value: _Column | _Constant, constants: Sequence[_Constant]) -> pc.Expression:
        """Tell whether a value is one of some; of an empty cell neither is true, as in SQL."""
        if not isinstance(value, _Column):
            return pc.scalar(value in constants)
        for constant in constants:
            self._ensure_fits(value, constant)
        if pa.types.is_integer(value.kind):
            constants = [int(each) for each in constants if _is_integer(each)]
            values = pa.array(constants, pa.int64())
        else:
            values = pa.array([_scalar(each, value.kind) for each in constants], value.kind)
        return value.field.isin(values) | (value.field != value.field)

    def _ensure_fits(self, column: _Column, constant: _Constant) -> None:
        kind = bool if pa.types.is_boolean(column.kind) else str if pa.types.is_string(column.kind) else (int, float)
        fits = isinstance(constant, kind) and (kind is bool or not isinstance(constant, bool))
        self._ensure_alike(fits, column.name, constant)

    def _ensure_alike(self, alike: bool, left: _Constant, right: _Constant) -> None:
        if not alike:
            raise InputError(
                f"`where` {self._where!r} compares what cannot be compared: {left} and {_short(repr(right))}."
            )

    def _value(self, node: ast.expr) -> _Column | _Constant:
        if not isinstance(node, ast.Name):
            return self._constant(node)
        if node.id not in self._columns.names:
            raise InputError(
                f"`where` {self._where!r}: there is no column {node.id!r}. There is: {', '.join(self._columns.names)}."
            )
        kind = self._columns.field(node.id).type
        return _Column(node.id, kind.value_type if pa.types.is_dictionary(kind) else kind)

    def _constant(self, node: ast.expr) -> _Constant:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inside = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        value = inside.value if isinstance(inside, ast.Constant) else None
        if isinstance(value, int | float) and not (negative and isinstance(value, bool)):
            return -value if negative else value
        if isinstance(value, str) and not negative:
            value.encode()
            return value
        self._refuse(node)

    def _refuse(self, node: ast.AST) -> NoReturn:
        shown = _short(ast.get_source_segment(self._source, node) or type(node).__name__)
        raise InputError(f"`where` {self._where!r}: {shown!r} may not stand there. It takes {_ALLOWED}.")


def _as_real(column: _Column) -> pc.Expression:
    return column.field.cast(pa.float64(), safe=False)


def _scalar(constant: _Constant, kind: pa.DataType) -> _Constant:
    """Return what a column of real numbers has where a number is written into it; every other constant as it is."""
    if not pa.types.is_floating(kind):
        return constant
    with np.errstate(over="ignore"):
        try:
            return float(kind.to_pandas_dtype()(constant))
        except OverflowError:  # more digits than any real number has
            return math.inf if isinstance(constant, int) and constant > 0 else -math.inf


def _is_integer(number: _Constant) -> bool:
    """Tell whether a number is an integer of 64 bits, however it is written."""
    whole = not isinstance(number, str) and (isinstance(number, int) or number.is_integer())
    return whole and -_MOST_INTEGER - 1 <= int(number) <= _MOST_INTEGER


def _of_integers(field: pc.Expression, op: type[ast.cmpop], number: _Constant) -> pc.Expression:
    """Compare integers with any number, exactly: Arrow would turn them into real numbers, which cannot hold all."""
    assert not isinstance(number, str)
    if _is_integer(number):
        return _COMPARE[op](field, pc.scalar(int(number)))
    if -_MOST_INTEGER <= number <= _MOST_INTEGER and op not in (ast.Eq, ast.NotEq):  # it lies between two
        below = pc.scalar(math.floor(number))
        return field <= below if op in (ast.Lt, ast.LtE) else field > below
    is_so = {ast.Eq: False, ast.NotEq: True}.get(op, (op in (ast.Lt, ast.LtE)) == (number > 0))
    return field == field if is_so else field != field
