"""Hostile tables and folders of texts, and stores of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.cases import DEEP, SCRIPT, Case, Kit, victim
from tests.hostile.cases.stores import ODD, column, entry, everywhere, said, same, texts

_LONG = "good " * 1_000_000  # 5 MB
# Whoever names a link, asks for the file; and a line may have 1 GB, which is read before it is said to be too long.
_ODD = {name: what for name, what in ODD.items() if "private" not in name and name != "3 GB"}
_FEW = ("a FIFO", "a link to /dev/zero", "a folder")


def table(name: str, data: bytes | str, refused: bool = False) -> Case:
    """Return a table of texts with these bytes."""

    def build(_: Kit, folder: Path) -> Path:
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode(errors="surrogatepass"))
        return folder / name

    return Case(build, name.replace(".", r"\.") if refused else "", refused)


def csv(*rows: bytes | str, refused: bool = False, header: str = "id,text,label") -> Case:
    """Return a .csv of these lines, between sound ones."""
    lines = [each if isinstance(each, bytes) else each.encode(errors="surrogateescape") for each in rows]
    return table("t.csv", b"\n".join([header.encode(), b"a,good,x", *lines, b"b,bad,y", b""]), refused)


def jsonl(*lines: str, refused: bool = False) -> Case:
    """Return a .jsonl of these lines, between sound ones."""
    return table("t.jsonl", "\n".join(['{"text": "good"}', *lines, '{"text": "bad"}\n']), refused)


def parquet(make: Callable[[], object], kind: pa.DataType | None = None, refused: bool = False) -> Case:
    """Return a Parquet file with these values as texts."""

    def build(_: Kit, folder: Path) -> Path:
        pq.write_table(pa.table({"text": pa.array(make(), kind)}), folder / "t.parquet")
        return folder / "t.parquet"

    return Case(build, r"t\.parquet" if refused else "", refused)


def instead(name: str, what: Callable[[Path, Path], object]) -> Case:
    """Return a table in whose place `what(path, victim)` stands."""

    def build(_: Kit, folder: Path) -> Path:
        what(folder / name, victim(folder))
        return folder / name

    return Case(build)


def files(**made: bytes | Callable[[Path, Path], object]) -> Case:
    """Return a folder of .txt files, one sound; of a callable what `what(path, victim)` makes."""

    def build(_: Kit, folder: Path) -> Path:
        (folder / "texts").mkdir()
        (folder / "texts" / "sound.txt").write_text("good")
        for name, what in made.items():
            path = folder / "texts" / f"{name}.txt"
            path.write_bytes(what) if isinstance(what, bytes) else what(path, victim(folder))
        return folder / "texts"

    return Case(build)


TABLES = {
    "a zero byte": csv("c,go\0od,x", refused=True),
    "zero bytes only": table("t.csv", b"\0" * 10_000, refused=True),
    "empty": table("t.csv", "", refused=True),
    "only a header": table("t.csv", "id,text\n", refused=True),
    "a header of 5 MB": csv(refused=True, header="x" * 5_000_000),
    "a header of 20,000 columns": csv(refused=True, header="text" + ",c" * 20_000),
    "a column twice": csv(refused=True, header="text,text,label"),
    "a text of 5 MB": csv(f"c,{_LONG},x"),
    "a line without an end": table("t.csv", "text\n" + _LONG),
    "a quote not closed": csv('c,"good,x', refused=True),
    "100,000 quotes": csv('"' * 100_001, refused=True),
    "20,000 commas": csv("," * 20_000, refused=True),
    "5,000 empty texts": table("t.csv", "id,text,label\n" + ",,\n" * 5_000),
    "Windows-1252": csv(b"c,f\xfcr,x", refused=True),
    "bytes of no encoding": csv(b"c,\x81\x8d\xff,x", refused=True),
    "half a surrogate": csv("c,\ud800,x".encode(errors="surrogatepass"), refused=True),
    "overlong UTF-8": csv(b"c,\xc0\xaf\xf8\x88\x80\x80\x80,x", refused=True),
    "UTF-16 without a mark": table("t.csv", "id,text\na,good\n".encode("utf-16-le"), refused=True),
    "UTF-16 cut short": table("t.csv", "id,text\na,good\n".encode("utf-16")[:-1], refused=True),
    "UTF-32 beyond all": table("t.csv", b"\xff\xfe\0\0" + b"\xff\xff\xff\x7f" * 8, refused=True),
    "control characters": csv("c,\x1b[2J\x1b]0;owned\x07,\x1b[2J"),
    "script": csv(f"{SCRIPT},{SCRIPT},{SCRIPT}"),
    "formulas": csv("=1+1,=cmd|'/C calc'!A0,@SUM(1)"),
    "directions of writing": csv("\u202ec,\u202e\u2066good,\u200b"),
    "a word of marks": csv(f"c,{'e' + chr(0x301) * 100_000},x"),
    "texts without a token": csv("c,\u200b\u200b,x", "d,\ufeff,x"),
    "ids that climb": csv("../../etc/passwd,good,x", "/etc/passwd,good,x"),
    "ids twice": csv("a,good,x"),
    "an id of 1 MB": csv(f"{'c' * 1_000_000},good,x"),
    "JSON deep in a text": jsonl('{"text": ' + "[" * DEEP + "]" * DEEP + "}", refused=True),
    "JSON deep beside a text": jsonl('{"text": "good", "a": ' + '{"a":' * 500 + "1" + "}" * 501),
    "JSON of other kinds": jsonl(*(f'{{"text": {value}}}' for value in ("[1]", '{"a": 1}', "7", "true", "null"))),
    "JSON of lists": jsonl('["good"]', refused=True),
    "JSON not closed": jsonl('{"text": "good', refused=True),
    "JSON of half a surrogate": jsonl('{"text": "\\ud800"}'),
    "JSON of a zero byte": jsonl('{"text": "a\\u0000b"}'),
    "JSON of numbers of 5,000 digits": jsonl(f'{{"text": {"9" * 5000}}}', refused=True),
    "JSON of NaN": jsonl('{"text": NaN, "label": Infinity}'),
    "JSON of a key twice": jsonl('{"text": "good", "text": 5}'),
    "JSON of 2,000 keys": jsonl(json.dumps({f"k{i}": 1 for i in range(2000)}), refused=True),
    "JSON in one line of 5 MB": jsonl(json.dumps({"text": _LONG})),
    "lines of 5 MB": table("t.txt", _LONG),
    "lines of zero bytes": table("t.txt", "good\0\n", refused=True),
    "5,000 empty lines": table("t.txt", "\n" * 5_000),
    "Parquet of lists": parquet(lambda: [["good"]] * 3, refused=True),
    "Parquet of deep lists": parquet(lambda: [[[[["good"]]]]] * 3, refused=True),
    "Parquet of structs": parquet(lambda: [{"text": "good"}] * 3, refused=True),
    "Parquet of numbers": parquet(lambda: [1.5, float("nan"), None], refused=True),
    "Parquet of bytes": parquet(lambda: [b"good", b"\xff\xfe", b"", None], pa.binary()),
    "Parquet of nulls": parquet(lambda: [None] * 3, pa.string()),
    "Parquet of no rows": parquet(list, pa.string(), refused=True),
    "Parquet of a text of 5 MB": parquet(lambda: [_LONG] * 3),
    "Parquet of categories": parquet(lambda: pa.array([_LONG] * 3).dictionary_encode()),
    "Parquet of zero bytes": parquet(lambda: ["a\0b", "\0"]),
    "Parquet of noise": table("t.parquet", random.Random(0).randbytes(5000), refused=True),
    "Parquet cut short": table("t.parquet", b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\x7fPAR1", refused=True),
    **{f"CSV {name}": instead("t.csv", what) for name, what in _ODD.items()},
    **{f"{kind} {name}": instead(f"t.{kind}", _ODD[name]) for kind in ("jsonl", "parquet", "txt") for name in _FEW},
    "files of broken encodings": files(a=b"\xff\xfe\0", b=b"\xff", c=b"a\0b", d=b"\xff\xfe\0\xd8", e=b"\xef\xbb\xbf"),
    "files of 5 MB": files(a=_LONG.encode(), b=b" " * 5_000_000),
    "files that are none": files(**{str(i): what for i, what in enumerate(_ODD.values())}),
}

_A_TABLE = {"text": "text", "id": "id"}


def _table_of(folder: Path) -> str:
    """Make a table that is not to be read, and return it."""
    return str(victim(folder))  # a .txt, a text a line


STORES = {
    "root a private table": everywhere("root", _table_of),
    "root a private folder": everywhere("root", lambda folder: str(Path(_table_of(folder)).parent)),
    "root /dev/zero": everywhere("root", "/dev/zero"),
    "root no table": everywhere("root", "/etc/passwd"),
    "root of control characters": everywhere("root", "/a\x1b[2J\nb.csv"),
    "root too long": everywhere("root", f"/{'x' * 5000}.csv"),
    "columns none": everywhere("read_columns", {}),
    "columns of script": everywhere("read_columns", {"text": SCRIPT, "id": SCRIPT}),
    "columns of control characters": everywhere("read_columns", {"text": "\x1b[2J", "id": "\x1b[2J"}),
    "columns others": entry("read_columns", {"texts": "text"}),
    "columns without a text": entry("read_columns", {"id": "id"}),
    "columns of numbers": entry("read_columns", {"text": 1}),
    "columns a list": entry("read_columns", ["text"]),
    "groups fewer": everywhere("groups", []),
    "groups of words": everywhere("groups", ["text", "kept_text", "words"]),
    "groups unknown": said(lambda facts: facts.update(groups=["text", "\x1b[2J"]), "column group"),
    "words, it says": everywhere("of_words", True),
    "words, it says in text": entry("of_words", "yes"),
    "a run of none": entry("run", {"tokens": 0, "threads": 0}),
    "a run of others": entry("run", {"tokens": 128}),
    "a run of many": everywhere("run", {"tokens": 10**15, "threads": 10**9}),
    "recipe of pictures": everywhere("recipe", {"height": 8, "width": 8}),
    "recipe of another kind": everywhere("recipe", {"modality": "text", "kind": "words", "max_tokens": 10**12}),
    "recipe of an unknown modality": everywhere("recipe", {"modality": "\x1b[2J"}),
    "recipe of a modality of numbers": everywhere("recipe", {"modality": {"a": [1]}}),
    "ids that climb": texts("id", "../../../../etc/passwd", "../private/secret.txt", "/etc/passwd"),
    "ids of script": texts("id", SCRIPT, "\x1b[2J"),
    "texts of script": texts("text", SCRIPT),
    "texts of control characters": texts("text", "\x1b[2J\x1b]0;owned\x07", "\u202egood", "a\0b"),
    "texts of 1 MB": texts("text", _LONG[:1_000_000]),
    "texts none": same("text", None),
    "texts of bytes": column("text", lambda table: pa.array([b"\xff\xfe"] * len(table)), "'text'|text", refused=True),
    "texts no UTF-8": column("text", lambda table: _no_utf8(len(table))),
    "tokens negative": same("tokens", -(2**31)),
    "tokens none": same("tokens", None),
    "truncated none": same("truncated", None),
    "hashes of other texts": same("content_hash", "0" * 64),
}


def _no_utf8(count: int) -> pa.Array:
    """Return an array of strings that are none."""
    offsets = pa.array(range(0, 2 * count + 1, 2), pa.int32()).buffers()[1]
    return pa.StringArray.from_buffers(count, offsets, pa.py_buffer(b"\xff\xfe" * count))
