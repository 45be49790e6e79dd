from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.errors import InputError
from fxengine.features.where import matching

TABLE = pa.table(
    {
        "id": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        "label": ["cats", "dogs", None, "cats"],
        "width": pa.array([100, 600, 700, None], pa.int32()),
        "height": pa.array([600, 600, 10, 5], pa.int32()),
        "size": pa.array([2**24 + 1, 10**6, 2**62, None], pa.int64()),
        "coverage": pa.array([0.1, 0.5, None, 1.0], pa.float32()),
        "truncated": [True, None, False, True],
    }
)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("label == 'cats'", [0, 3]),
        ("label != 'cats'", [1]),
        ("label is None", [2]),
        ("label is not None and width > 500", [1]),
        ("not label == 'cats'", [1]),
        ("width > 500 or label == 'cats' and height < 10", [1, 2, 3]),
        ("100 < width <= 600", [1]),
        ("width < height", [0]),
        ("id in ('a.jpg', 'd.jpg', 'z.jpg')", [0, 3]),
        ("id not in ['a.jpg', 'd.jpg']", [1, 2]),
        ("width >= -5.5", [0, 1, 2]),
        ("  width == 600  ", [1]),
        ("label not in ('dogs', 'birds')", [0, 3]),
        ("not label in ('dogs', 'birds')", [0, 3]),
        ("label not in ()", [0, 1, 3]),
        ("width in (1, 600.0, 99999999999999999999999)", [1]),
        ("width > 99999999999999999999999", []),
        ("width < 99999999999999999999999", [0, 1, 2]),
        ("width != 1e999", [0, 1, 2]),
        ("width > -1e999", [0, 1, 2]),
        ("size > 1e6", [0, 2]),
        ("1e6 < size", [0, 2]),
        ("size > 16777216.5", [0, 2]),
        ("size == 16777217.0", [0]),
        ("size == 16777216.5 or size == 4611686018427387905", []),
        ("coverage == 0.1", [0]),
        ("coverage in (0.1, 1)", [0, 3]),
        ("size > coverage", [0, 1]),
        ("truncated == True", [0, 3]),
        ("truncated != True", [2]),
        ("truncated in (True, False)", [0, 2, 3]),
        ("1 < 2 and 'a' == 'a' and 3 in (3, 4)", [0, 1, 2, 3]),
        ("5 is None", []),
    ],
)
def test_a_filter_lets_through_what_it_says(where: str, wanted: list[int]) -> None:
    assert np.flatnonzero(matching(TABLE, where)).tolist() == wanted


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "colour == 'red'",
            r"there is no column 'colour'. There is: id, label, width, height, size, coverage, truncated",
        ),
        ("label = 'cats'", "is no expression"),
        ("", "is no expression"),
        ("width + 1 > 5", r"'width \+ 1' may not stand there"),
        ("__import__('os').system('true')", "may not stand there"),
        ("label.upper() == 'CATS'", "may not stand there"),
        ("label", "'label' may not stand there"),
        ("label is 'cats'", "may not stand there"),
        ("label in id", "'id' may not stand there"),
        ("width > True", "compares what cannot be compared: width and True"),
        ("label == True", "compares what cannot be compared"),
        ("truncated == 1", "compares what cannot be compared"),
        ("width > -True", "may not stand there"),
        ("width > 10**30", "may not stand there"),
        ("1 < 'a'", "compares what cannot be compared"),
        ("label < width", "compares what cannot be compared"),
        ("width > " + "9" * 5000, "is no expression"),
        ("label > -'a'", "may not stand there"),
        ("[x for x in ()] == 1", "may not stand there"),
        ("label == 5", "compares what cannot be compared"),
        ("(" * 500 + "width" + ")" * 500 + " > 1", "is no expression"),
        ("width in (1, 'a')", "compares what cannot be compared"),
        (r"label == '\ud800'", "compares what cannot be compared"),
    ],
)
def test_everything_else_is_refused_with_what_is_allowed(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matching(TABLE, where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (" and ".join(["width > 1"] * 20_000), "holds more than 1000 conditions"),
        (" or ".join(["width > 1"] * 20_000), "holds more than 1000 conditions"),
        ("1 < " * 20_000 + "width", "holds more than 1000 conditions"),
        ("(" * 10_000 + "width > 1" + ")" * 10_000, "is no expression"),
        ("not " * 10_000 + "width > 1", "is no expression"),
        ("not " * 500 + "width > 1", "more than 100 deep"),
        ("(width > 1 and " * 150 + "width > 1" + ")" * 150, "more than 100 deep"),
        ("width > " + "-" * 5000 + "1", "is no expression"),
        ("width" + ".a" * 20_000 + " > 1", "is no expression"),
    ],
    ids=lambda text: text[:20],
)
def test_a_filter_may_neither_be_deep_nor_long(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        matching(TABLE, where)
    assert len(str(refused.value)) < 600


def test_a_filter_may_hold_a_thousand_conditions_and_many_values() -> None:
    assert matching(TABLE, " and ".join(["width > 1"] * 1000)).tolist() == [True, True, True, False]
    assert matching(TABLE, "not " * 90 + "width > 500").tolist() == [False, True, True, False]
    assert matching(TABLE, f"width in {tuple(range(20_000))}").tolist() == [True, True, True, False]


# A condition in Python's syntax and in SQL.
NUMBERS = st.integers(-3, 3) | st.sampled_from([-2.5, 0.5, 1.0, 1e6, 2**24 + 1, 16777216.5, 2**62, 10**25, -(10**25)])
VALUES = {
    "row": NUMBERS,
    "size": NUMBERS,
    "width": NUMBERS,
    "coverage": st.sampled_from([0, 1, 0.1, 0.5, 0.25, -1.5, 2]),
    "label": st.sampled_from(["a", "b", "it's", "\u00e9", ""]),
    "truncated": st.booleans(),
}
OPS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def sql(value: object) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, str]:
    column = draw(st.sampled_from(sorted(VALUES)))
    kind = draw(st.sampled_from(["op", "turned", "in", "not in", "is None", "is not None"]))
    if kind.startswith("is"):
        return f"{column} {kind}", f"{column} {kind.replace('None', 'NULL')}"
    if kind.endswith("in"):
        values = draw(st.lists(VALUES[column], min_size=1, max_size=4))
        ours = f"{column} {kind} [{', '.join(map(repr, values))}]"
        return ours, f"{column} {kind} ({', '.join(map(sql, values))})"
    value, op = draw(VALUES[column]), draw(st.sampled_from(sorted(OPS)))
    if kind == "turned":
        return f"{value!r} {op} {column}", f"{sql(value)} {OPS[op]} {column}"
    return f"{column} {op} {value!r}", f"{column} {OPS[op]} {sql(value)}"


CONDITIONS = st.recursive(
    comparisons() | st.sampled_from([("row < size", "row < size"), ("width >= row", "width >= row")]),
    lambda inner: st.one_of(
        inner.map(lambda each: (f"not ({each[0]})", f"NOT ({each[1]})")),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda each: (f"({each[0][0]}) {each[1]} ({each[2][0]})", f"({each[0][1]}) {each[1]} ({each[2][1]})")
        ),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[pa.Table, duckdb.DuckDBPyConnection]]:
    rng = np.random.default_rng(0)

    def cells(values: list[object], kind: pa.DataType) -> pa.Array:
        return pa.array([None if rng.random() < 0.25 else values[rng.integers(len(values))] for _ in range(300)], kind)

    whole = [-3, -1, 0, 1, 2, 3, 10**6, 2**24, 2**24 + 1]
    table = pa.table(
        {
            "row": pa.array(range(300), pa.int64()),
            "size": cells([*whole, 2**62, 2**53 + 1], pa.int64()),
            "width": cells([*whole], pa.int32()),
            "coverage": cells([0.0, 0.1, 0.5, 1.0, 0.3], pa.float32()),
            "label": cells(["a", "b", "it's", "\u00e9", "", "A"], pa.string()).dictionary_encode(),
            "truncated": cells([True, False], pa.bool_()),
        }
    )
    with duckdb.connect() as connection:
        connection.register("t", table)
        connection.execute("CREATE TABLE rows AS SELECT * FROM t")
        yield table, connection


@settings(max_examples=500, deadline=None)
@given(CONDITIONS)
def test_filters_are_those_of_sql(
    asked: tuple[pa.Table, duckdb.DuckDBPyConnection], condition: tuple[str, str]
) -> None:
    table, connection = asked
    ours, theirs = condition
    wanted = connection.execute(f'SELECT "row" FROM rows WHERE {theirs} ORDER BY "row"').fetchall()
    assert np.flatnonzero(matching(table, ours)).tolist() == [row for (row,) in wanted]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30))
def test_no_text_gets_past_the_list(where: str) -> None:
    with suppress(InputError):
        matching(TABLE, where)
