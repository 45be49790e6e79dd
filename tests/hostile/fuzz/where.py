"""Filters of `where`: what the grammar knows, nested, with odd values and with what may not stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from fxengine.features.where import matching

MEGABYTES = 300

_names = st.sampled_from(["label", "width", "id", "row", "error", "nobody", "_", "True", "None", "label.x", "f()"])
_numbers = st.integers().map(str) | st.floats().map(repr) | st.sampled_from(
    ["1e999", "-1e999", "9" * 30, "9" * 5000, "0x" + "f" * 400, "1_000", "1j", "-0", "--1", str(2**63), str(-(2**63))]
)  # fmt: skip
_texts = st.text(max_size=6).map(repr) | st.sampled_from(
    ["'a", '"""', "b'x'", "f'{x}'", "'\\ud800'", "'a\\0b'", "r'\\'"]
)
_atoms = _names | _numbers | _texts
_lists = st.lists(_atoms, max_size=4).map(lambda each: f"({', '.join(each)})") | st.just("[") | st.just("{1: 2}")
_compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not", "=", "+", "~", ""])
_one = st.builds(lambda a, op, b: f"{a} {op} {b}", _atoms, _compare, _atoms | _lists | st.just("None"))


def _more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.builds(lambda a, op, b: f"{a} {op} {b}", inner, st.sampled_from(["and", "or", "<", "if"]), inner)
    return joined | inner.map(lambda a: f"not {a}") | inner.map(lambda a: f"({a})") | inner.map(lambda a: f"-{a}")


_nested = st.recursive(_one, _more, max_leaves=12)
_long = st.builds(
    lambda piece, times: piece * times,
    st.sampled_from(
        ["(", "not ", "width > 0 and ", "width > 0 or ", "-", "[", "width < ", "~", "((", "'", "\\\n", "a."]
    ),
    st.sampled_from([50, 95, 200, 1000, 3000, 20_000]),
)
inputs = _nested | st.builds(str.__add__, _long, _one) | st.text(max_size=30)


def prepare(_: Path) -> Any:
    """Return a table of a store's small columns."""
    return pa.table(
        {"row": [0, 1, 2], "id": ["a", "b", "c"], "label": ["x", None, "y"], "width": pa.array([1, 2, 3], pa.int32()),
         "error": pa.array([None] * 3, pa.string())}
    )  # fmt: skip


def read(data: str, made: pa.Table) -> object:
    """Ask which rows a filter lets through."""
    return matching(made, data)
