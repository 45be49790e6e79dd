"""Hostile feature stores: what a part says of itself, what stands in it, and what lies beside it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.cases import DEEP, LINKED, SCRIPT, Case, Kit, linked, sparse, victim

_KEY = b"fxengine"
_PART = "part-000000.parquet"
Facts = dict[str, Any]


def said(change: Callable[[Facts], object], says: str = "is (broken|damaged): ", refused: bool = True) -> Case:
    """Return a store whose first part says of itself what `change` leaves or returns; bytes are taken as they are."""

    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder)
        table = pq.read_table(store / _PART)
        facts = json.loads(table.schema.metadata[_KEY])
        changed = change(facts)
        raw = changed if isinstance(changed, bytes) else json.dumps(changed or facts).encode()
        pq.write_table(table.replace_schema_metadata({_KEY: raw}), store / _PART)
        return store

    return Case(build, f"{_PART}.*{says}" if refused else "", refused)


def entry(name: str, value: object, refused: bool = True) -> Case:
    """Return a store whose first part says `value` under `name`."""
    return said(lambda facts: facts.update({name: value}), refused=refused)


def everywhere(name: str, value: object) -> Case:
    """Return a store all of whose parts say `value` under `name`, as one that was made so does."""

    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder)
        (folder / "private").mkdir()
        for path in store.glob("part-*.parquet"):
            table = pq.read_table(path)
            facts = json.loads(table.schema.metadata[_KEY])
            facts[name] = value(folder) if callable(value) else value
            raw = json.dumps(facts).encode()
            pq.write_table(table.replace_schema_metadata({_KEY: raw}), path)
        return store

    return Case(build)


METADATA = {
    "space missing": said(lambda facts: facts.pop("space") and None, "'space' is missing"),
    "root missing": said(lambda facts: facts.pop("root") and None, "'root' is missing"),
    "dim missing": said(lambda facts: facts.pop("dim") and None, "'dim' is missing"),
    "all missing": said(lambda _: b"{}", ""),
    "format missing": said(lambda facts: facts.pop("format") and None, "format"),
    "format of text": said(lambda facts: facts.update(format="1"), "format"),
    "unknown entry": said(lambda facts: facts.update(colour="red"), "'colour'"),
    "unknown entry of script": said(lambda facts: facts.update({SCRIPT: "red"}), "script"),
    "unknown entry of control characters": said(lambda facts: facts.update({"\x1b[2J\x07": 1}), ""),
    "dim of text": entry("dim", "8"),
    "dim true": entry("dim", True),
    "dim 0": entry("dim", 0),
    "dim negative": entry("dim", -8),
    "dim larger than any": entry("dim", 2**31),
    "dim of 5,000 digits": said(lambda facts: json.dumps(facts).replace('"dim": 8', f'"dim": {"9" * 5000}').encode()),
    "dim another": replace(said(lambda facts: facts.update(dim=9)), says="part-|feature"),
    "dim enormous": replace(said(lambda facts: facts.update(dim=2**31 - 1)), says="part-|feature"),
    "next_row larger than any": entry("next_row", 2**63),
    "next_row negative": entry("next_row", -1),
    "next_row the last": entry("next_row", 2**62, refused=False),
    "dtype unknown": entry("dtype", "float64"),
    "dtype another": replace(said(lambda facts: facts.update(dtype="float32")), says="part-|float32"),
    "dtype a list": entry("dtype", ["float16"]),
    "space null": entry("space", None),
    "layers a list": entry("layers", ["a"]),
    "layers deep": said(lambda facts: facts.update(layers={"a": {"b": 1}})),
    "layer without a column": said(lambda facts: facts.update(layers={"a": 4}), "", refused=False),
    "2,000 layers": said(lambda facts: facts.update(layers={str(i): 1 for i in range(2000)}), "", refused=False),
    "versions a list": entry("versions", []),
    "versions of numbers": entry("versions", {"numpy": 2}),
    "groups unknown": said(lambda facts: facts.update(groups=["../x"]), "column group"),
    "groups of numbers": entry("groups", [1]),
    "limits of others": entry("limits", {"max_pixels": 5}),
    "limits negative": entry("limits", {"max_pixels": -1, "max_bytes": -1}),
    "recipe of text": entry("recipe", "none"),
    "recipe deep": said(lambda facts: facts.update(recipe=_nested(500)), "", refused=False),
    "deep objects": said(lambda _: b'{"recipe":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}"),
    "deep arrays": said(lambda _: b"[" * DEEP + b"]" * DEEP),
    "not closed": said(lambda _: b'{"format": 1'),
    "empty": said(lambda _: b" "),
    "an array": said(lambda _: b"[1]"),
    "a text": said(lambda _: b'"text"'),
    "NaN": said(lambda facts: json.dumps({**facts, "recipe": {"a": float("nan")}}).encode(), "", refused=False),
    "Infinity": said(lambda facts: json.dumps({**facts, "recipe": {"a": float("inf")}}).encode(), "", refused=False),
    "1e999": said(lambda facts: json.dumps(facts).replace('"dim": 8', '"dim": 1e999').encode()),
    "no UTF-8": said(lambda _: b"\xff\xfe{"),
    "half a surrogate": said(lambda facts: json.dumps({**facts, "root": "\ud800"}).encode()),
    "a name twice": replace(said(lambda facts: json.dumps(facts)[:-1].encode() + b', "dim": 9}'), says="part-|feature"),
    "500 kB of text": said(lambda facts: facts.update(source="x" * 500_000), "", refused=False),
}


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


_NUMBERS = count()

# All parts agree: nothing in the store itself tells that it is not so.
NAMES = {
    "space that climbs": everywhere("space", "../../../../../../etc/passwd"),
    "space of zero bytes": everywhere("space", "a\0b"),
    "space of 10,000 characters": everywhere("space", "s" * 10_000),
    "space empty": everywhere("space", ""),
    "source a private net": everywhere("source", lambda folder: str(victim(folder))),
    "source onnx of a private file": everywhere("source", lambda folder: f"onnx:{victim(folder)}"),
    "source pca of a private file": everywhere("source", lambda folder: f"pca:{victim(folder)}"),
    "source a FIFO": everywhere("source", lambda folder: str(_fifo(folder / "private" / f"{next(_NUMBERS)}.onnx"))),
    "source /dev/zero": everywhere("source", "/dev/zero"),
    "source of zero bytes": everywhere("source", "onnx:a\0b"),
    "source onnx of zero bytes": everywhere("source", "a\0b.onnx"),
    "source too long": everywhere("source", "x" * 5000 + ".onnx"),
    "source unknown keras": everywhere("source", "keras:../../x"),
    "root private": everywhere("root", lambda folder: str(victim(folder).parent)),
    "root of zero bytes": everywhere("root", "a\0b"),
    "root too long": everywhere("root", "/" + "x" * 5000),
    "root relative": everywhere("root", "../.."),
    "root /proc/self": everywhere("root", "/proc/self"),
    "root empty": everywhere("root", ""),
    "root of control characters": everywhere("root", "/a\x1b[2J\nb"),
    "root of script": everywhere("root", f"/{SCRIPT}"),
    "int8 that climbs": everywhere("int8", "../../../etc/passwd"),
    "precision int8 of nothing": everywhere("precision", "int8"),
    "precision unknown": everywhere("precision", "\x1b[2J"),
    "recipe of a huge picture": everywhere(
        "recipe", {"height": 10**9, "width": 10**9, "edge": "short", "size": 10**9, "kernel": "box"}
    ),
    "limits of nothing": everywhere("limits", {"max_pixels": 1, "max_bytes": 1}),
    "limits larger than any": everywhere("limits", {"max_pixels": 10**30, "max_bytes": 10**30}),
}


def column(name: str, values: Callable[[pa.Table], object], says: str = "", refused: bool = False) -> Case:
    """Return a store whose first part has other values in a column of its type."""

    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder)
        victim(folder)
        table = pq.read_table(store / _PART)
        made, field = values(table), table.schema.field(name)
        chosen = made if isinstance(made, pa.Array) else pa.array(made, field.type)
        at = table.schema.get_field_index(name)
        pq.write_table(table.set_column(at, pa.field(name, chosen.type, field.nullable), chosen), store / _PART)
        return store

    return Case(build, says, refused)


def texts(name: str, *given: str) -> Case:
    """Return a store with such texts in a column, the others numbered behind the first."""
    return column(name, lambda table: [*given, *(f"{given[0]}{i}" for i in range(len(table) - len(given)))])


def same(name: str, value: object) -> Case:
    """Return a store with one value in every row of a column."""
    return column(name, lambda table: [value] * len(table))


def _vectors(table: pa.Table, dim: int, value: float) -> pa.Array:
    kind = table.schema.field("feature").type
    return pa.array([[value] * dim] * len(table), pa.list_(pa.float32())).cast(kind)


ROWS = {
    "ids that climb": texts("id", "../../../../etc/passwd", "../private/secret.txt", "/etc/passwd", "a/../../b"),
    "ids absolute": texts("id", "/etc/passwd", "/dev/zero", "/proc/self/mem"),
    "ids of zero bytes": texts("id", "a\0b"),
    "ids of control characters": texts("id", "\x1b[2J\x1b]0;owned\x07", "a\nb", "a\rb", "\u202eexe.gpj"),
    "ids empty": same("id", ""),
    "ids twice": same("id", "same.jpg"),
    "ids too long": texts("id", "x" * 100_000),
    "ids of script": texts("id", SCRIPT, "javascript:alert(1)", "\"' onerror='alert(1)"),
    "ids of percent signs": texts("id", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%", "%ZZ", "%ff"),
    "labels of control characters": texts("label", "\x1b[2J", "a\nb", "[bold red]x[/]"),
    "labels of script": texts("label", SCRIPT),
    "labels empty": same("label", ""),
    "labels of 100 kB": texts("label", "x" * 100_000),
    "splits of script": texts("split", SCRIPT),
    "hashes empty": same("content_hash", ""),
    "hashes that climb": texts("content_hash", "../../etc/passwd"),
    "sizes negative": same("size", -(2**63)),
    "times beyond all": same("mtime_ns", 2**63 - 1),
    "widths negative": same("width", -(2**31)),
    "error codes unknown": column("error_code", lambda table: ["\x1b[2J"] + [None] * (len(table) - 1)),
    "error codes of control characters": column("error_code", lambda table: ["\x1b[2J"] * len(table)),
    "row numbers negative": column("row", lambda table: range(-12, len(table) - 12), "row numbers", refused=True),
    "row numbers beyond all": column(
        "row", lambda table: range(2**63 - len(table), 2**63), "row numbers", refused=True
    ),
    "row numbers the last": column("row", lambda table: range(2**62 - len(table), 2**62)),
    "row numbers twice": column("row", lambda table: [0] * len(table), "(row|Row number) 0", refused=True),
    "row numbers of text": column("row", lambda table: pa.array(["0"] * len(table)), "'row'", refused=True),
    "ids of numbers": column("id", lambda table: pa.array(range(len(table))), "'id'", refused=True),
    "vectors zero": column("feature", lambda table: _vectors(table, 8, 0.0)),
    "vectors large": column("feature", lambda table: _vectors(table, 8, 65504.0)),
    "vectors tiny": column("feature", lambda table: _vectors(table, 8, 6e-8)),
    "vectors equal": column("feature", lambda table: _vectors(table, 8, 1.0)),
    "vectors NaN": column("feature", lambda table: _vectors(table, 8, np.nan), "", refused=False),
    "vectors short": column("feature", lambda table: _vectors(table, 7, 1.0)),
    "vectors none": column("feature", lambda table: _vectors(table, 0, 1.0)),
}


def written(change: Callable[[Path, Path], object], says: str = "", refused: bool = False) -> Case:
    """Return a store in which `change(store, victim)` put something."""

    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder)
        change(store, victim(folder))
        return store

    return Case(build, says, refused)


def instead(name: str, what: Callable[[Path, Path], object], says: str = "", refused: bool = False) -> Case:
    """Return a store in which `what(path, victim)` stands in a file's place."""

    def change(store: Path, victim: Path) -> None:
        (store / name).unlink(missing_ok=True)
        what(store / name, victim)

    return written(change, says, refused)


def _fifo(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    return path


ODD: dict[str, Callable[[Path, Path], object]] = {
    "a link to a private file": lambda path, victim: path.symlink_to(victim),
    "a hard link of a private file": linked,
    "a link to itself": lambda path, _: path.symlink_to(path),
    "a link to nothing": lambda path, victim: path.symlink_to(victim.with_name("nothing")),
    "a link to /dev/zero": lambda path, _: path.symlink_to("/dev/zero"),
    "a FIFO": lambda path, _: _fifo(path),
    "a folder": lambda path, _: (path / "a").mkdir(parents=True),
    "3 GB": lambda path, _: sparse(path),
    "empty": lambda path, _: path.touch(),
    "noise": lambda path, _: path.write_bytes(bytes(range(256)) * 40),
}


_LINK = "a link to a private file"


def _read_link(path: Path, victim: Path) -> None:
    """Link to a file that may be read."""
    linked(path, victim)
    path.unlink()
    path.symlink_to(victim.with_name(LINKED))


def _footer(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Put another footer behind a part's pages."""
    data = path.read_bytes()
    length = struct.unpack("<I", data[-8:-4])[0]
    footer = change(data[-8 - length : -8])
    path.write_bytes(data[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def deep_schema(depth: int) -> bytes:
    """Return a footer in Thrift's compact protocol whose one column lies within so many groups."""
    leaf = b"\x15\x02\x25\x00\x18\x01b\x00"  # INT32, required
    schema = b"\x29\xfc" + _varint(depth + 1) + b"\x48\x01a\x15\x02\x00" * depth + leaf
    return b"\x15\x02" + schema + b"\x16\x00\x19\x0c\x00"


FILES = {
    # A link to a part is followed, as download caches make them; what it points to is not written to.
    **{f"part {name}": instead(_PART, what) for name, what in (ODD | {_LINK: _read_link}).items()},
    **{f"next_row {name}": instead(".next_row", what) for name, what in ODD.items()},
    **{f"decoding {name}": instead(".decoding", what) for name, what in ODD.items()},
    **{f"lock {name}": instead(".lock", what) for name, what in ODD.items()},
    **{f"holder {name}": instead(".lock.holder", what) for name, what in ODD.items()},
    **{f"index {name}": instead("_index", what) for name, what in ODD.items()},
    **{f"temporary {name}": instead(".part-000000.parquet.tmp-0123456789abcdef", what) for name, what in ODD.items()},
    "next_row of 30 digits": written(lambda store, _: (store / ".next_row").write_text("9" * 30)),
    "next_row the last": written(lambda store, _: (store / ".next_row").write_text(str(2**62 - 1))),
    "next_row of other digits": written(lambda store, _: (store / ".next_row").write_text("\u0663")),
    "footer too long": written(
        lambda store, _: (store / _PART).write_bytes(b"PAR1" + struct.pack("<I", 2**31) + b"PAR1"), _PART, True
    ),
    "footer of noise": written(lambda store, _: _footer(store / _PART, lambda data: b"\xff" * len(data)), _PART, True),
    "footer empty": written(lambda store, _: _footer(store / _PART, lambda _: b""), _PART, True),
    "footer of 1,000 groups": written(
        lambda store, _: _footer(store / _PART, lambda _: deep_schema(1000)), _PART, True
    ),
    "footer of 100,000 groups": written(
        lambda store, _: _footer(store / _PART, lambda _: deep_schema(100_000)), _PART, True
    ),
    "encrypted": written(
        lambda store, _: (store / _PART).write_bytes((store / _PART).read_bytes()[:-4] + b"PARE"), _PART, True
    ),
    "part numbers of 400 digits": written(lambda store, _: (store / _PART).rename(store / f"part-{'1' * 200}.parquet")),
    "part numbers of 5,000,000": written(lambda store, _: (store / _PART).rename(store / "part-5000000.parquet")),
    "part numbers of other digits": written(
        lambda store, _: (store / _PART).rename(store / "part-\u0663\u0663\u0663.parquet")
    ),
    "a part twice": written(lambda store, _: (store / "part-000007.parquet").write_bytes((store / _PART).read_bytes())),
    "a foreign part": written(
        lambda store, _: pq.write_table(pa.table({"a": [1]}), store / "part-000007.parquet"), "part-000007", True
    ),
}

# A whole folder in the place of a store.
FOLDERS: dict[str, Case] = {
    f"store {name}": Case(lambda kit, folder, what=what: _only(folder, what))  # type: ignore[misc]
    for name, what in ODD.items()
    if "private" not in name  # whoever names a link, asks for the file
} | {
    "store empty folder": Case(lambda _, folder: folder),
    "store a name too long": Case(lambda _, folder: folder / ("x" * 300)),
    "store behind a file": Case(lambda kit, folder: kit.head / "s"),
    "store of control characters": Case(lambda kit, folder: kit.copy(folder).rename(folder / "a\x1b[2J\nb")),
}


def _only(folder: Path, what: Callable[[Path, Path], object]) -> Path:
    what(folder / "s", victim(folder))
    return folder / "s"


def reading(tables: Iterable[dict[str, Case]]) -> dict[str, Case]:
    """Return several tables as one."""
    return {name: case for table in tables for name, case in table.items()}


STORES = reading([METADATA, NAMES, ROWS, FILES, FOLDERS])
