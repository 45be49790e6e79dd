"""Rows that are read one after the other are those that are read at once."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxengine.collect.table import read_table
from fxengine.collect.table_rows import READERS, open_rows
from fxengine.errors import InputError
from tests.collect.test_table import CELLS


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6),
    st.sampled_from(",;\t"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
@example([("a", "b\r\nc", '"'), ("", "", "")], ";", "utf-16", "\n", True)
def test_the_rows_are_those_of_the_whole_table(
    rows: list[tuple[str, str, str]], delimiter: str, encoding: str, end: str, quoted: bool
) -> None:
    out = io.StringIO(newline="")
    # Ends of lines that are not the file's own are left without quotes unless all is quoted.
    quoted = quoted or any(sign in cell for row in rows for cell in row for sign in "\r\n")
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("id", "x", "y"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_bytes(out.getvalue().encode(encoding))
        with path.open("rb") as opened:
            found = open_rows(opened, path, "it")
            assert found.names == ["id", "x", "y"]
            assert [*found.read([2, 0, 1])] == [(row[2], row[0], row[1]) for row in rows]
        assert read_table(path)[0].to_pydict() == {
            name: [row[i] for row in rows] for i, name in enumerate(["id", "x", "y"])
        }


@pytest.mark.parametrize(
    "text",
    ["id;label,x\na;b\n", "id,label (0=no; 1=yes)\na,0\n", "\n\nid\ttext\n\nx\ty\n\n", "a\n1\n", '"id","a\nb"\n1,2\n',
     "id,x\n" + "a" * 200_000 + ",b\n", "x" * 150_000 + ",id\n1,2\n", "id,text\na,5\" pipe\nb,say \"hi\"\n"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_dialect_is_that_of_the_whole_table(tmp_path: Path, text: str, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_text(text)
    wrong = ""
    try:
        whole = read_table(path, called="it")[0]
    except InputError as error:
        wrong = str(error)
    with path.open("rb") as opened:
        if wrong:
            with pytest.raises(InputError, match=f"^{re.escape(wrong)}$"):
                [*open_rows(opened, path, "it").read([0])]
            return
        rows = open_rows(opened, path, "it")
        assert rows.names == whole.column_names
        assert [*rows.read(range(len(rows.names)))] == [tuple(row.values()) for row in whole.to_pylist()]


def test_suffixes_count_in_any_case(tmp_path: Path) -> None:
    assert sorted(READERS) == [".csv", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt"]
    path = tmp_path / "T.JSONL"
    path.write_text('{"a": [1], "b": null}\r\n\r\n{"c": "x", "a": 2.5}')
    with path.open("rb") as opened:
        rows = open_rows(opened, path, "it")
        assert (rows.names, [*rows.read([2, 1, 0])]) == (["a", "b", "c"], [(None, None, [1]), ("x", None, 2.5)])
