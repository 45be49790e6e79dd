"""Tables of texts: every kind gives the same rows, what cannot be read is said, and memory holds no texts."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxengine.collect import collect, table_rows, text_table
from fxengine.collect.item import Filters, Item, Place, TextColumns, escape_path
from fxengine.collect.text_table import TextTable
from fxengine.errors import DecodeError, InputError
from tests.conftest import ROOT

ALL = TextColumns("text", "id", "label", "split")
NAMED = TextColumns("text", "id")
# No half of a surrogate pair, which no encoding takes, and no zero byte, which no text file holds.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "",
        " ",
        "NA",
        "null",
        "001",
        'a"b',
        '"',
        '""',
        '","',
        "a,b",
        "a;b",
        "\t",
        "\r\n",
        "\n",
        "\r",
        "é",
        "日本\u2028",
        "\ufeff",
    ]
)
IDS = TEXTS.filter(lambda text: bool(text.strip()))


def content(listing: TextTable) -> dict[str, str | None]:
    """Return id -> text, None where it cannot be read."""

    def text(item: Item) -> str | None:
        try:
            payload, read = listing.read(item, 1 << 20)
        except DecodeError:
            return None
        assert isinstance(payload, bytes)
        assert read == item
        assert item.size == len(payload)
        assert item.content_hash == hashlib.sha256(payload).hexdigest()
        return payload.decode()

    return {item.key: text(item) for item in listing}


def opened(path: Path, data: str | bytes, columns: TextColumns = TextColumns()) -> TextTable:  # noqa: B008
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return TextTable(path, columns)


def refused(path: Path, data: str | bytes, columns: TextColumns = TextColumns()) -> str:  # noqa: B008
    with pytest.raises(InputError) as raised:
        opened(path, data, columns)
    return str(raised.value).replace(f"{path.parent}/", "")


def as_csv(rows: Sequence[dict[str, Any]], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    # Unless all is quoted, csv leaves what could be read as another dialect.
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=len(rows) % 2 == 0) + "\n" for row in rows).encode()


def as_parquet(rows: Sequence[dict[str, Any]], **kinds: pa.DataType) -> bytes:
    out = io.BytesIO()
    columns = {name: pa.array([row[name] for row in rows], kinds.get(name)) for name in rows[0]}
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


WRITERS: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {
    "csv": as_csv,
    "tsv": lambda rows: as_csv(rows, "\t"),
    "jsonl": as_jsonl,
    "ndjson": as_jsonl,
    "parquet": as_parquet,
}


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(IDS, TEXTS, min_size=1, max_size=6), st.sampled_from(sorted(WRITERS)))
@example({"a\\b": 'x"\r\n,', "é/\n": "\ufeff"}, "csv")
def test_every_kind_gives_the_texts_that_were_written(texts: dict[str, str], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = WRITERS[kind]([{"id": key, "text": text} for key, text in texts.items()])
        listing = opened(Path(folder, f"t.{kind}"), data, NAMED)
        found = content(listing)
        wanted = {escape_path(key): text if text.strip() else None for key, text in texts.items()}
        assert found == wanted
        assert list(found) == sorted(found, key=str.encode)
        assert listing.count() == len(texts)
        assert listing.find([*found, "not there", "\ud800"]) == {escape_path(key): text for key, text in texts.items()}
        assert [item.source for item in listing] == [
            f"{folder}/t.{kind}#{[*map(escape_path, texts)].index(key)}" for key in found
        ]


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS.filter(lambda text: "\n" not in text), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_a_text_has_a_text_in_every_line(lines: list[str], end: str) -> None:
    lines = [line.rstrip("\r") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        listing = opened(Path(folder, "t.txt"), "".join(line + end for line in lines))
        marked = lines[0].startswith("\ufeff")  # a byte order mark, and no text
        lines[0] = lines[0][marked:]
        found = content(listing)
        assert [*found.values()] == [line if line.strip() else None for line in lines]
        assert [*found] == [f"t.txt#{i:09d}" for i in range(len(lines))]


def test_real_reviews_are_those_that_pandas_reads(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("text") / "uci_sentiment_3000.csv"
    frame = pd.read_csv(path, keep_default_na=False)
    listing = TextTable(path, TextColumns(label="label"))
    assert [*content(listing).values()] == frame["text"].to_list()
    assert [item.label for item in listing] == frame["label"].astype(str).to_list()


def test_an_item_says_what_the_table_says(tmp_path: Path) -> None:
    data = 'split,id,text,label\nTrain,b,"é\nx",cat\nval,a,two,\n,c,,4.0\n'
    listing = opened(tmp_path / "t.csv", data, ALL)
    os.utime(tmp_path / "t.csv", ns=(1, 1_700_000_000_000_000_007))
    listing = TextTable(tmp_path / "t.csv", ALL)
    place = f"{tmp_path}/t.csv"
    sha256 = [hashlib.sha256(text.encode()).hexdigest() for text in ("two", "é\nx", "")]
    mtime_ns = 1_700_000_000_000_000_007
    assert [*listing] == [
        Item("a", f"{place}#1", 3, mtime_ns, None, "val", sha256[0]),
        Item("b", f"{place}#0", 4, mtime_ns, "cat", "train", sha256[1]),
        Item("c", f"{place}#2", 0, mtime_ns, "4.0", None, sha256[2]),
    ]
    assert (listing.root, listing.labelled, listing.unreadable) == (tmp_path / "t.csv", True, [])
    assert not TextTable(tmp_path / "t.csv", NAMED).labelled


def test_rows_without_ids_keep_theirs_when_the_table_grows(tmp_path: Path) -> None:
    path = tmp_path / "a\\b#.jsonl"
    before = content(opened(path, as_jsonl([{"text": f"{i}"} for i in range(11)])))
    after = content(opened(path, as_jsonl([{"text": f"{i}"} for i in range(1001)])))
    assert [*before] == [f"a\\\\b#.jsonl#{i:09d}" for i in range(11)]
    assert [*after.values()] == [f"{i}" for i in range(1001)]
    assert before.items() <= after.items()
    found = TextTable(path).find(
        ["a\\\\b#.jsonl#000000007", "000000007", "a\\\\b#.jsonl#7", "a\\\\b#.jsonl#000001001", ""]
    )
    assert found == {"a\\\\b#.jsonl#000000007": "7"}


def test_what_is_no_text_is_an_error_of_its_row(tmp_path: Path) -> None:
    lines = ['{"text": "fine"}', '{"text": null}', "", '{"x": 1}', '{"text": 5}', '{"text": ["a"]}', 
             r'{"text": "\ud800"}', '{"text": " \\t\\u3000"}', '{"text": ""}']  # fmt: skip
    listing = opened(tmp_path / "t.jsonl", "\n".join(lines))
    codes = []
    for item in listing:
        try:
            listing.read(item, 100)
            codes.append("")
        except DecodeError as error:
            codes.append(f"{error.code}: {error}")
    no_text = "not_text: It is a number, a list or the like, or bytes that are not UTF-8, no text."
    missing, blank = "empty: The text is missing.", "empty: The text is empty."
    assert codes == ["", missing, missing, no_text, no_text, no_text, blank, blank]
    items = [*listing]
    assert [item.size for item in items] == [4, 0, 0, 0, 0, 0, 5, 0]
    assert [item.content_hash is None for item in items] == [False, True, True, True, True, True, False, False]
    assert [*listing.find(item.key for item in items).values()] == ["fine", " \t\u3000", ""]  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match=r"^4 bytes; `max_bytes` allows 3\.$") as caught:
        listing.read(items[0], 3)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string()),
    ],
)  # fmt: skip
def test_a_parquet_has_texts_of_every_kind(tmp_path: Path, kind: pa.DataType) -> None:
    values = ["b", "é", None, "b"]
    column = (
        pa.array(values).cast(pa.binary()).cast(kind) if pa.types.is_large_binary(kind) else pa.array(values).cast(kind)
    )
    pq.write_table(pa.table({"n": [1, 2, 3, 4], "text": column}), tmp_path / "t.parquet", row_group_size=3)
    listing = TextTable(tmp_path / "t.parquet", TextColumns(id="n", label="text"))
    assert content(listing) == {"1": "b", "2": "é", "3": None, "4": "b"}
    assert [item.label for item in listing] == ["b", "é", None, "b"]


def test_bytes_that_are_no_text_are_an_error_of_their_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [b"a", b"\xff", b"\xed\xa0\x80"]}), tmp_path / "t.parquet")
    listing = TextTable(tmp_path / "t.parquet")
    assert [*content(listing).values()] == ["a", None, None]
    assert [item.content_hash is None for item in listing] == [False, True, True]
    with pytest.raises(
        InputError, match=r"^The label of record 1 \(counted from 0\) of .* is no text in UTF-8: text or a"
    ):
        TextTable(tmp_path / "t.parquet", TextColumns(label="text"))


def test_labels_splits_and_ids_are_plain_values(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "id": 1, "label": 4.0, "split": "TEST"},
        {"text": "b", "id": 2.0, "label": 0.5, "split": ""},
        {"text": "c", "id": "x", "label": True, "split": None},
        {"text": "d", "id": True, "label": 7, "split": "Valid"},
        {"text": "e", "id": "y", "label": "", "split": "training"},
        {"text": "f", "id": "z", "label": float("nan")},
    ]
    found = {item.key: (item.label, item.split) for item in opened(tmp_path / "t.jsonl", as_jsonl(rows), ALL)}
    assert found == {
        "1": ("4", "test"), "2": ("0.5", None), "x": ("true", None), "true": ("7", "valid"), "y": (None, "training"),
        "z": (None, None),
    }  # fmt: skip
    data = as_parquet([{"text": "a", "label": 1.0, "split": None}, {"text": "b", "label": None, "split": None}])
    listing = opened(tmp_path / "t.parquet", data, TextColumns(label="label", split="split"))
    assert [(item.label, item.split) for item in listing] == [("1", None), (None, None)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", "text\nä\n\nß,\n".replace(",", "")), ("t.jsonl", '{"text": "ä"}\n{"text": "ß"}'), ("t.txt", "ä\nß"),
     ("t.tsv", "id\ttext\r1\tä\r2\tß")],
)  # fmt: skip
def test_encodings_and_ends_of_lines(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    assert [*content(opened(tmp_path / name, text.encode(encoding))).values()] == ["ä", "ß"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.csv", b"text\na\n\xe9t\xe9\n", "t.csv cannot be read: line 3 is not UTF-8 (byte 0xe9): save it as UTF-8."),
        ("t.txt", b"a\n" * 811 + b"\xe9", "t.txt cannot be read: line 812 is not UTF-8 (byte 0xe9): save it as UTF-8."),
        ("t.jsonl", b'{"text": "\xe9"}', "t.jsonl cannot be read: line 1 is not UTF-8 (byte 0xe9): save it as UTF-8."),
        ("t.txt", b"a\n\0", "t.txt cannot be read: line 2 holds a zero byte, as no text does: save it as UTF-8."),
        ("t.txt", b"\xff\xfea\0\0", "t.txt begins as utf-16-le and is none ('utf-16-le' codec can't decode"),
        ("t.csv", b"\xff\xfea\0\0", "t.csv begins as utf-16-le and is none ('utf-16-le' codec can't decode"),
        ("t.csv", "", "t.csv cannot be read: it is empty."),
        ("t.csv", "\n\n", "t.csv cannot be read: it is empty."),
        ("t.csv", "text,label\n", "t.csv holds no rows."),
        ("t.txt", "", "t.txt holds no rows."),
        ("t.jsonl", "\n \n", "t.jsonl cannot be read: it is empty."),
        ("t.parquet", as_parquet([{"text": "a"}])[:-9], "t.parquet cannot be read: "),
        ("t.parquet", "no Parquet", "t.parquet cannot be read: "),
        ("t.csv", "text,label\na.jpg,cat\n\nb.jpg,dog,x\n",
         "t.csv cannot be read: line 4 has 3 fields parted by ',', the first one has 2 fields."),
        ("t.csv", 'text;label\n"a\nb";c\nb.jpg\n',
         "t.csv cannot be read: line 4 has 1 field parted by ';', the first one has 2 fields."),
        ("t.tsv", "text\tlabel\na\n",
         "t.tsv cannot be read: line 2 has 1 field parted by tab, the first one has 2 fields."),
        ("t.csv", 'text,label\na,b\n"c,d\ne,f\n',
         "t.csv cannot be read: a quote is missing or one too many in the row that begins in line 3 (unexpected end of "
         "data)."),
        ("t.csv", 'text,label\n"c,d\ne,"f"\n',
         "t.csv cannot be read: a quote is missing or one too many in the row that begins in line 2 (',' expected "
         "after '\"')."),
        ("t.jsonl", '{"text": "a"}\n{"text": a}', "t.jsonl cannot be read: line 2 is no JSON (Expecting value)."),
        ("t.jsonl", '{"text": "a"} {}', "t.jsonl cannot be read: line 1 is no JSON (Extra data)."),
        ("t.jsonl", '\n["a"]', "t.jsonl cannot be read: line 2 is JSON, but no object: {...} is needed."),
        ("t.jsonl", '{"text": ' + "[" * 200_000, "t.jsonl cannot be read: line 1 is nested too deeply."),
        ("t.jsonl", '{"n": ' + "1" * 5000 + "}", "t.jsonl cannot be read: line 1 is no JSON (Exceeds the limit"),
        ("t.jsonl", json.dumps({f"{i}": i for i in range(1001)}),
         "t.jsonl has over 1000 different keys: it is no table."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_line(tmp_path: Path, name: str, data: str | bytes, said: str) -> None:
    assert refused(tmp_path / name, data).startswith(said)


@pytest.mark.parametrize(
    ("data", "columns", "said"),
    [
        ("a,b\n1,2\n", TextColumns(),
         "Which column of t.csv holds the texts? Name it as `column`. There is: 'a', 'b'."),
        ("Text,TEXT\n1,2\n", TextColumns(),
         "Which column of t.csv holds the texts? Name it as `column`. There is: 'Text', 'TEXT'."),
        ("text,b\n1,2\n", TextColumns("txt"), "t.csv has no column 'txt'. Did you mean 'text'? There is: 'text', 'b'."),
        ("text,b\n1,2\n", TextColumns(id="no"), "t.csv has no column 'no'. There is: 'text', 'b'."),
        ("text,b\n1,2\n", TextColumns(label="B"), "t.csv has no column 'B'. There is: 'text', 'b'."),
        ("text,b\n1,2\n", TextColumns(split="c"), "t.csv has no column 'c'. There is: 'text', 'b'."),
        ("text,b,b\n1,2,3\n", TextColumns(label="b"), "2 columns of t.csv are called 'b': rename all but one."),
        ("id,text\nx,1\ny,2\nx,3\ny,4\nx,5\n", NAMED,
         "The column 'id' of t.csv has an id twice: 'x' (records 0 and 2), 'y' (records 1 and 3); records are counted "
         "from 0.\nEach row needs an id of its own: change these, or name no column of ids."),
        ("id,text\n" + "".join(f"{i % 7},x\n" for i in range(14)), NAMED,
         "The column 'id' of t.csv has an id twice: '0' (records 0 and 7), '1' (records 1 and 8), '2' (records 2 and "
         "9), '3' (records 3 and 10), '4' (records 4 and 11), ...; records are counted"),
        ("id,text\nx,1\n ,2\n", NAMED, "The id of record 1 (counted from 0) of t.csv is missing: every row needs one."),
        ("id,text\nx,1\n,2\n", NAMED, "The id of record 1 (counted from 0) of t.csv is missing: every row needs one."),
        ("s,text\ntest,1\nfold1,2\n", TextColumns(split="s"),
         "The split of record 1 (counted from 0) of t.csv is 'fold1'. There is: train, training, val, valid, "),
        ("label,text\n" + "x" * 4097 + ",1\n", TextColumns(label="label"),
         "The label of record 0 (counted from 0) of t.csv has over 4096 bytes: is it the right column?"),
        (",".join(f"c{i}" for i in range(40)) + "\n" + "," * 39, TextColumns("x" * 99),
         f"t.csv has no column '{'x' * 60}...'. There is: "
         + ", ".join(f"'c{i}'" for i in range(30)) + " and 10 more."),
    ],
)  # fmt: skip
def test_columns_and_values_that_cannot_be_used_are_said(
    tmp_path: Path, data: str, columns: TextColumns, said: str
) -> None:
    assert refused(tmp_path / "t.csv", data, columns).startswith(said)


def test_which_column_holds_the_texts(tmp_path: Path) -> None:
    assert [*content(opened(tmp_path / "t.csv", "review\ngood\n")).values()] == ["good"]
    assert [*content(opened(tmp_path / "t.csv", "n,TEXT\n1,good\n")).values()] == ["good"]
    assert [*content(opened(tmp_path / "t.csv", "n,text\n1,good\n", TextColumns("n"))).values()] == ["1"]
    assert content(opened(tmp_path / "t.csv", "word\na\nb\n", TextColumns("word", "word", "word"))) == {
        "a": "a",
        "b": "b",
    }
    late = as_jsonl([dict(text="a") for _ in range(3000)]) + as_jsonl([{"text": "b", "label": "x"}])
    assert [*opened(tmp_path / "t.jsonl", late, TextColumns(label="label"))][-1].label == "x"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([1]), "int64"),
        (pa.array([["a"]]), "list<"),
        (pa.nulls(1), "null"),
        (pa.array([b"a"], pa.binary(1)), "fixed"),
    ],
)
def test_a_parquet_column_that_holds_no_texts_is_refused(tmp_path: Path, values: pa.Array, kind: str) -> None:
    pq.write_table(pa.table({"text": ["a"], "x": values}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=f"^The column 'x' of .* holds {kind}.*, not texts: name the one that does"):
        TextTable(tmp_path / "t.parquet", TextColumns("x"))
    if kind == "list<":
        with pytest.raises(
            InputError, match=r"^The id of record 0 .* is an object of type list: text or a number is needed"
        ):
            TextTable(tmp_path / "t.parquet", TextColumns(id="x"))


def test_names_of_columns_with_dots_are_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text.en": ["e"], "text": ["t"], "x": [{"y": "z"}]}), tmp_path / "t.parquet")
    assert [*content(TextTable(tmp_path / "t.parquet")).values()] == ["t"]
    assert [*content(TextTable(tmp_path / "t.parquet", TextColumns("text.en", "text"))).items()] == [("t", "e")]


def test_hostile_tables_are_said(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}).replace_schema_metadata({"fxengine": "{}"}), path)
    with pytest.raises(
        InputError, match=r"t\.parquet is a part of a feature store, which holds no texts: name the table"
    ):
        TextTable(path)
    repeated = pa.table({"text": pa.array(["x"] * 2_000_000).dictionary_encode()})
    pq.write_table(repeated.cast(pa.schema([("text", pa.string())])), path, compression="zstd")
    with pytest.raises(InputError, match=r"t\.parquet cannot be read: it announces 2000000 rows in \d+ bytes"):
        TextTable(path)
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"t\.csv cannot be read: It is not a regular file"):
        TextTable(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"^There is no file .*none\.csv\.$"):
        collect(tmp_path / "none.csv", modality="text")


# Not at random: pyarrow might end the process, and with it all other tests.
@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 255), st.booleans())
@example(377, 57, False)  # a column's metadata that pyarrow cannot show without ending the process
def test_a_damaged_parquet_is_read_or_refused(place: int, change: int, footer: bool) -> None:
    data = bytearray(as_parquet([{"id": f"{i}", "text": f"text {i}"} for i in range(20)]))
    place = len(data) - 1 - place % 400 if footer else place % len(data)
    data[place] ^= change
    with tempfile.TemporaryDirectory() as folder:
        try:
            content(opened(Path(folder, "t.parquet"), bytes(data), NAMED))
        except InputError as error:
            assert "t.parquet" in str(error)  # noqa: PT017


def test_rows_that_are_too_long_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_rows, "LONGEST", 1000)
    open_quote = 'text,label\na,"b\n' + "c,d\n" * 1000
    assert refused(tmp_path / "t.csv", open_quote) == (
        "t.csv cannot be read: a quote is missing or one too many in the row that begins in line 2 (it is longer than "
        "1000 characters)."
    )
    assert refused(tmp_path / "t.txt", "a\n" + "x" * 1001) == (
        "t.txt cannot be read: line 2 is longer than 1000 characters."
    )
    assert len(content(opened(tmp_path / "t.txt", "a\n" + "x" * 1000))) == 2
    monkeypatch.setattr(text_table, "LONGEST", 1000)
    pq.write_table(pa.table({"text": ["a", "x" * 1001]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"^Record 1 of .* has a text of over 1000 bytes: leave it out\.$"):
        TextTable(tmp_path / "t.parquet")
    monkeypatch.setattr(table_rows, "available", lambda: 1600)
    assert refused(tmp_path / "t.txt", "x" * 101) == "t.txt cannot be read: line 1 is longer than 100 characters."


def test_a_table_of_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "_MOST_ROWS", 2)
    assert len(content(opened(tmp_path / "t.txt", "a\nb"))) == 2
    assert refused(tmp_path / "t.txt", "a\nb\nc") == "t.txt has over 2 rows: make several tables of it."


def test_cells_of_any_length(tmp_path: Path) -> None:
    long = '"' + "x,\n" * 100_000 + "é"
    listing = opened(tmp_path / "t.csv", as_csv([{"id": "a", "text": long}, {"id": "b", "text": "y"}]), NAMED)
    assert content(listing) == {"a": long, "b": "y"}
    rows = [{"text": f"{i % 2}" * 100_000} for i in range(100)]
    assert [*content(opened(tmp_path / "t.parquet", as_parquet(rows))).values()] == [row["text"] for row in rows]


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    assert refused(tmp_path / "t.txt", "a\n") == (
        "The texts of t.txt cannot be kept in a temporary file: No space left on device.\n"
        "Make room, or set TMPDIR to a folder on a larger disk."
    )


def test_what_a_table_cannot_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\n")
    with pytest.raises(
        InputError, match=r"t\.txt has none: each of its lines is a text\. Columns are named for tables of"
    ):
        collect(tmp_path / "t.txt", modality="text", columns=TextColumns("text"))
    with pytest.raises(
        InputError, match=r"^`include` and `exclude` choose among files, and .*t\.txt is one table: give neit"
    ):
        collect(tmp_path / "t.txt", modality="text", include=["a"])
    with pytest.raises(
        InputError,
        match=r"t\.txt is asked for pictures\. Columns are named for tables of texts, and .*: name",
    ):
        collect(tmp_path / "t.txt", columns=TextColumns("text"))
    with pytest.raises(
        InputError,
        match=r"is a folder of texts\. Columns are named for tables of texts, and .*: name none\.$",
    ):
        collect(tmp_path, modality="text", columns=TextColumns(label="x"))
    (tmp_path / "t.docx").touch()
    with pytest.raises(
        InputError, match=r"t\.docx is no folder, and none of the files that hold texts: \.csv, \.tsv, \.jsonl"
    ):
        collect(tmp_path / "t.docx", modality="text")
    assert not text_table.takes(Place(tmp_path / "t.csv"))
    assert not text_table.takes(Place(tmp_path, tmp_path / "t.csv", Filters(), "text"))


_CHILD = """
import re, sys
from pathlib import Path
from fxengine.collect.text_table import TextTable, TextColumns
kind, most = sys.argv[1], Path(sys.argv[2])
listing = TextTable(most, TextColumns("text", "id" if kind == "ids" else None, "label"))
assert sum(item.size for item in listing) == 100 * listing.count()
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "ids"])
def test_memory_does_not_hold_the_texts(tmp_path: Path, kind: str) -> None:
    taken = []
    for count in (3_000, 300_000):
        path = tmp_path / f"{count}.{'csv' if kind == 'ids' else kind}"
        columns = {
            "id": list(map(str, range(count))),
            "text": [f"{i:0100d}" for i in range(count)],
            "label": ["x"] * count,
        }
        table = pa.table(columns)
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        else:
            lines = (
                f'{{"id": "{i}", "text": "{i:0100d}", "label": "x"}}\n' if kind == "jsonl" else f"{i},{i:0100d},x\n"
                for i in range(count)
            )
            path.write_text(("" if kind == "jsonl" else "id,text,label\n") + "".join(lines))
        command = [sys.executable, "-c", _CHILD, kind, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        taken.append(int(done.stdout) << 10)
    assert taken[1] - taken[0] < 40 << 20
