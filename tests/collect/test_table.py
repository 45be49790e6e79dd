from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxengine.collect import table as collect_table
from fxengine.collect.paths import list_paths
from fxengine.collect.table import column_of, decode_text, id_columns, read_table
from fxengine.errors import InputError

# Everything but the zero byte, which no text holds, and halves of surrogate pairs, which no encoding takes.
CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "001",
        "1.0",
        "NA",
        "nan",
        "",
        " ",
        'a"b',
        '""',
        ",",
        ";",
        "\t",
        "\r\n",
        "\n",
        "é",
        "e\u0301",
        "日本",
        "😀",
        "\ufeff",
    ]
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


def table(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> tuple[dict[str, list[Any]], list[str]]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found, notes = read_table(path)
    return found.to_pydict(), notes


def refused(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> str:
    with pytest.raises(InputError) as raised:
        table(tmp_path, content, name)
    return str(raised.value).replace(str(tmp_path), "")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    st.sampled_from(",;\t"),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["pandas", "pyarrow"]),
)
@example([("001", ""), ("", "NA"), ('"', "a,b;c\td\r\n")], ";", "utf-16", "pandas")
def test_a_csv_reads_back_the_same_text(
    rows: list[tuple[str, str]], delimiter: str, encoding: str, writer: str
) -> None:
    columns = {"id": [row[0] for row in rows], "text": [row[1] for row in rows]}
    if writer == "pandas":
        # Unless told so, pandas leaves a lone carriage return without quotes, so that no reader gets it back.
        quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
        data = pd.DataFrame(columns).to_csv(sep=delimiter, index=False, quoting=quoting).encode(encoding)
    else:
        sink = io.BytesIO()
        options = pyarrow.csv.WriteOptions(delimiter=delimiter)
        pyarrow.csv.write_csv(pa.table(columns), sink, options)
        data = sink.getvalue().decode().encode(encoding)
    with tempfile.TemporaryDirectory() as folder:
        assert table(Path(folder), data) == (columns, [])


def test_text_stays_text(tmp_path: Path) -> None:
    found, _ = table(tmp_path, "id,a,b,c\n0001,001,1.0,NA\n0002,,true,2024-01-01\n")
    assert found == {
        "id": ["0001", "0002"], "a": ["001", ""], "b": ["1.0", "true"], "c": ["NA", "2024-01-01"],
    }  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_first_line(tmp_path: Path, delimiter: str) -> None:
    text = f'"a,b;c\td"{delimiter}id\n1{delimiter}"x,y;z"\n'
    assert table(tmp_path, text)[0] == {"a,b;c\td": ["1"], "id": ["x,y;z"]}


def test_a_tsv_is_parted_by_tabs_alone(tmp_path: Path) -> None:
    assert table(tmp_path, "id\ta,b,c\nx;y\t1\n", "t.TSV")[0] == {"id": ["x;y"], "a,b,c": ["1"]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-32", "cp1252"])
def test_ends_of_lines_and_encodings(tmp_path: Path, end: str, encoding: str) -> None:
    text = end.join(["", "id,label", "ä.jpg,süß", "", "b.jpg,böse"])  # without an end of the last line
    found, notes = table(tmp_path, text.encode(encoding))
    assert found == {"id": ["ä.jpg", "b.jpg"], "label": ["süß", "böse"]}
    assert [note.partition(" is ")[2] for note in notes] == (
        ["not UTF-8: it is read as Windows-1252. Save it as UTF-8 where names look wrong."]
        if encoding == "cp1252"
        else []
    )


@pytest.mark.parametrize("byte_order", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_both_byte_orders(byte_order: str) -> None:
    assert decode_text("\ufeffid,é".encode(byte_order), "it") == ("id,é", [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "/t.csv cannot be read: it is empty."),
        ("id,label\na.jpg,cat\n\nb.jpg,dog,x\n",
         "/t.csv cannot be read: line 4 has 3 fields parted by ',', the first one has 2 fields."),
        ('id;label\n"a\nb";c\nb.jpg\n',
         "/t.csv cannot be read: line 4 has 1 field parted by ';', the first one has 2 fields."),
        ('id,label\na,b\n"c,d\ne,f\n',
         "/t.csv cannot be read: a quote is missing or one too many in the row that begins in line 3 (unexpected end "
         "of data)."),
        (b"i\0d\0,\0x\0", "/t.csv holds zero bytes, as no text does: save it as UTF-8."),
        (b"id,x\n\x81,1", "/t.csv is neither UTF-8 nor Windows-1252: save it as UTF-8."),
        (b"\xff\xfei\0d\0\0\xd8", "/t.csv begins as utf-16-le and is none ("),
        (b"\xef\xbb\xbfid\n\xff", "/t.csv begins as utf-8 and is none ("),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert refused(tmp_path, content).startswith(said)


def test_a_missing_file_and_no_parquet_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^There is no file .*/none\.csv\.$"):
        read_table(tmp_path / "none.csv")
    assert refused(tmp_path, "x", "t.parquet").startswith("/t.parquet cannot be read: ")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match=r"^The list cannot be read: it is empty\.$"):
        read_table(tmp_path / "empty.csv", called="The list")


def test_a_first_line_that_is_a_row_is_kept(tmp_path: Path) -> None:
    found, notes = table(tmp_path, "cat, a.JPG\ndog,b.jpg\n")
    assert found == {"1": ["cat", "dog"], "id": [" a.JPG", "b.jpg"]}
    assert notes == [f"{tmp_path}/t.csv has no header: its first line is taken for a row."]
    (tmp_path / "t.csv").write_text("0001,cat\n0002,dog\n")
    found, _ = read_table(tmp_path / "t.csv", is_id=lambda cell: cell == "0001")
    assert found.to_pydict() == {"id": ["0001", "0002"], "2": ["cat", "dog"]}
    assert table(tmp_path, "path,best.jpg\na,b\n")[0] == {"path": ["a"], "best.jpg": ["b"]}  # "path" names a column
    assert table(tmp_path, "photo,label\na.jpg,cat\n")[0] == {"photo": ["a.jpg"], "label": ["cat"]}


def test_columns_of_ids() -> None:
    assert id_columns(["label", "ID", "x", "File_Name"]) == ["File_Name", "ID"]
    assert id_columns(["label", "photo"]) == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([["a"], ["b"]]), "list<"),
        (pa.array([{"x": 1}, {"x": 2}]), "struct<"),
        (pa.array([b"a", b"b"], pa.binary(1)), "fixed_size_binary"),
        (pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1)), "fixed_size_list<"),
        (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), "map<"),
    ],
)
def test_columns_of_no_plain_values_are_refused(tmp_path: Path, values: pa.Array, kind: str) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "tags": values}), tmp_path / "t.parquet")
    found, _ = read_table(tmp_path / "t.parquet")
    with pytest.raises(
        InputError, match=rf"^The column 'tags' of it holds {kind}.*: one text or number a row is needed"
    ):
        column_of(found, "tags", "it")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, suffix: str) -> None:
    if suffix == "csv":
        (tmp_path / "t.csv").write_text("id,label,label\na,b,c\n")
    else:
        doubled = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], ["id", "label", "label"])
        pq.write_table(doubled, tmp_path / "t.parquet")
    found, _ = read_table(tmp_path / f"t.{suffix}")
    assert column_of(found, "id", "it").to_pylist() == ["a"]
    with pytest.raises(InputError, match=r"^2 columns of it are called 'label': rename all but one\.$"):
        column_of(found, "label", "it")


def test_a_parquet_keeps_its_types_and_categories_are_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["01", "02"], "n": [1, 2], "c": pd.Categorical(["x", None])})
    frame.to_parquet(tmp_path / "t.parquet")
    found, notes = read_table(tmp_path / "t.parquet")
    assert notes == []
    assert [str(column_of(found, name, "").type) for name in ("id", "n", "c")] == ["string", "int64", "string"]
    assert column_of(found, "c", "").to_pylist() == ["x", None]
    (tmp_path / "parts.parquet").mkdir()
    for i in range(2):
        pq.write_table(pa.table({"id": [f"{i}"]}), tmp_path / "parts.parquet" / f"{i}.parquet")
    assert read_table(tmp_path / "parts.parquet")[0].to_pydict() == {"id": ["0", "1"]}


def test_a_header_of_any_length_and_a_cell_of_any_length(tmp_path: Path) -> None:
    names = ["id", *(f"a long name of column {i}" for i in range(9000))]
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(names) + "\n" + ",".join(["007"] * len(names)) + "\n")
    table, notes = read_table(wide)
    assert table.column_names == names
    assert (table["a long name of column 8999"].to_pylist(), notes) == (["007"], [])
    long = tmp_path / "long.csv"
    long.write_text("path,note\n" + f"a.jpg,{'x' * 70_000}\n")
    assert list_paths(long, tmp_path).paths == ["a.jpg"]
    headless = tmp_path / "headless.csv"
    headless.write_text(f"{'x' * 300},1\n{'y' * 300},2\n")
    with pytest.raises(InputError, match="has no column 'path'"):
        list_paths(headless, tmp_path)


def test_a_quote_that_never_closes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,label\na.jpg,"open\nb.jpg,y\nc.jpg,z\n')
    with pytest.raises(InputError, match="a quote is missing or one too many in the row that begins in line 2"):
        read_table(path)
    path.write_text('id,label\na.jpg,x\nb.jpg,"' + "a long text\n" * 20_000 + '"\n')
    assert len(read_table(path)[0]["label"].to_pylist()[1]) == 240_000
    path.write_text('id,label\na.jpg,x\nb.jpg,"two\nlines"\n')
    assert read_table(path)[0]["label"].to_pylist() == ["x", "two\nlines"]


@pytest.mark.parametrize("head", ["id,label (0=no; 1=yes; 2=unsure)", 'id,"label (0=no; 1=yes; 2=unsure)"'])
def test_signs_in_a_header_are_no_delimiter(head: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{head}\na.jpg,0\nb.jpg,1\n")
    table, _ = read_table(path)
    assert table.column_names == ["id", "label (0=no; 1=yes; 2=unsure)"]
    assert table["id"].to_pylist() == ["a.jpg", "b.jpg"]


def test_text_without_a_mark_is_text(tmp_path: Path) -> None:
    table = pa.table({"id": [b"a.jpg", "Ä.jpg".encode()], "raw": [b"\xff\xfe", b""]})
    assert column_of(table, "id", "t").to_pylist() == ["a.jpg", "Ä.jpg"]
    with pytest.raises(InputError, match="The column 'raw' of t holds bytes that are no text in UTF-8"):
        column_of(table, "raw", "t")


def written_again_and_again(path: Path, text: str, rows: int) -> None:
    """Write a Parquet file of one text in every row, which takes next to nothing."""
    block = pa.array(np.zeros(rows, np.int32))
    table = pa.table({"path": pa.DictionaryArray.from_arrays(block, pa.array([text]))})
    schema = pa.schema([("path", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=True) as writer:
        writer.write_table(table.cast(schema))


def test_a_parquet_that_announces_more_rows_than_its_bytes_can_tell_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet" / "part.parquet"
    path.parent.mkdir()
    written_again_and_again(path, "a.jpg", 3_000_000)
    size = path.stat().st_size
    assert size < 1 << 20
    for each in (path, path.parent):
        with pytest.raises(InputError, match=f" cannot be read: it announces 3000000 rows in {size} bytes"):
            read_table(each)


def test_what_takes_more_memory_than_is_free_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_again_and_again(tmp_path / "texts.parquet", "x" * 10_000, 20_000)
    zeros = pa.table({"path": list(map(str, range(9000))), "x": np.zeros(9000)})
    pq.write_table(zeros, tmp_path / "zeros.parquet", use_dictionary=False, compression="zstd")
    (tmp_path / "list.csv").write_text("path\n" + "a.jpg\n" * 9000)
    (tmp_path / "list.txt").write_text("a.jpg\n" * 9000)
    monkeypatch.setattr(collect_table, "available", lambda: 50_000)
    for name in ("texts.parquet", "zeros.parquet", "list.csv", "list.txt"):
        said = f"The list .*{name} cannot be read: it takes .* MB of memory, 0 MB are free"
        with pytest.raises(InputError, match=said):
            list_paths(tmp_path / name, tmp_path)
    monkeypatch.setattr(collect_table, "available", lambda: None)  # not known here
    assert len(list_paths(tmp_path / "texts.parquet", tmp_path).paths) == 20_000


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"labels.{suffix}")
    with pytest.raises(InputError, match=rf"labels.{suffix} cannot be read: It is not a regular file"):
        read_table(tmp_path / f"labels.{suffix}")


@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_a_text_of_more_than_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    path.touch()
    os.truncate(path, 3 << 30)
    with pytest.raises(InputError, match=rf"list.{suffix} cannot be read: it has 3221225472 bytes"):
        list_paths(path, tmp_path)


def test_texts_that_are_counted_keep_their_types(tmp_path: Path) -> None:
    columns = {
        "path": pa.array(["a", None, "b"]),
        "large": pa.array(["a", "a", ""], pa.large_string()),
        "bytes": pa.array([b"a", None, b"a"]),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "number": pa.array([1, 2, 3]),
    }
    wanted = pa.table(columns)
    (tmp_path / "parts").mkdir()
    for path in (tmp_path / "one.parquet", tmp_path / "parts" / "a.parquet"):
        pq.write_table(wanted, path)
    assert read_table(tmp_path / "one.parquet")[0].equals(wanted)
    (tmp_path / "parts").rename(tmp_path / "parts.parquet")
    assert read_table(tmp_path / "parts.parquet")[0].equals(wanted)
