"""Hostile tables of labels, and filters that no person writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.cases import SCRIPT, Case, Kit, victim
from tests.hostile.cases.stores import ODD

IDS = [f"{'cats' if i % 2 else 'dogs'}/{i:02d}.jpg" for i in range(24)]
_SOUND = "id,label\n" + "".join(f"{key},{key[:4]}\n" for key in IDS)


def table(data: bytes | str, refused: bool = False, name: str = "labels.csv", says: str = "") -> Case:
    """Return a file of labels with these bytes."""

    def build(_: Kit, folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode(errors="surrogateescape"))
        return path

    return Case(build, says or (name if refused else ""), refused)


def labels(*values: str, refused: bool = False) -> Case:
    """Return a file with these labels, one after the other, quoted as CSV wants it."""
    quoted = [value.replace('"', '""') for value in values]
    return table("id,label\n" + "".join(f'{key},"{quoted[i % len(quoted)]}"\n' for i, key in enumerate(IDS)), refused)


def parquet(make: Callable[[], pa.Table], refused: bool = False) -> Case:
    """Return a Parquet file of labels."""

    def build(_: Kit, folder: Path) -> Path:
        pq.write_table(make(), folder / "labels.parquet")
        return folder / "labels.parquet"

    return Case(build, "labels.parquet" if refused else "", refused)


def _column(values: object, kind: pa.DataType | None = None) -> Callable[[], pa.Table]:
    return lambda: pa.table({"id": IDS, "label": pa.array(values, kind)})


def _instead(suffix: str, what: Callable[[Path, Path], object]) -> Case:
    def build(_: Kit, folder: Path) -> Path:
        what(folder / f"labels{suffix}", victim(folder))
        return folder / f"labels{suffix}"

    return Case(build)


_ODD = {name: what for name, what in ODD.items() if "private" not in name}  # whoever names a link, asks for the file
LABELS = {
    "zero bytes": table(_SOUND.replace("cats", "ca\0ts"), refused=True),
    "empty": table("", refused=True),
    "blank lines": table("\n" * 1000, refused=True),
    "only a header": table("id,label\n", refused=True, says="."),
    "one line of 5 MB": table("id,label\n" + "x" * 5_000_000, refused=True),
    "a header of 20,000 columns": table(",".join(f"c{i}" for i in range(20_000)) + "\n", refused=True, says="."),
    "20,000 commas": table(_SOUND + "," * 20_000 + "\n", refused=True),
    "a cell of 5 MB": table(_SOUND.replace("dogs\n", f'"{"x" * 5_000_000}"\n', 1)),
    "a quote not closed": table(_SOUND.replace("dogs/00.jpg,dogs", 'dogs/00.jpg,"dogs', 1), refused=True),
    "a quote in the header": table('"id,label\n' + _SOUND, refused=True),
    "quotes only": table('"' * 100_001, refused=True),
    "UTF-16 without a mark": table(_SOUND.encode("utf-16-le"), refused=True),
    "UTF-16 with a mark": table(_SOUND.encode("utf-16")),
    "UTF-16 cut short": table(_SOUND.encode("utf-16")[:-1], refused=True),
    "UTF-16 with half a surrogate": table("\ufeff".encode("utf-16-le") + b"\x00\xd8" * 20, refused=True),
    "UTF-32": table(_SOUND.encode("utf-32")),
    "UTF-8 and Windows-1252": table(_SOUND.replace("cats\n", "k\u00e4t\n", 1).encode() + b"dogs/00.jpg,h\xf6nd\n"),
    "bytes of no encoding": table(_SOUND.encode().replace(b"cats\n", b"\x81\x8d\n"), refused=True),
    "carriage returns": table(_SOUND.replace("\n", "\r")),
    "line ends of all kinds": table(_SOUND.replace("\n", "\u2028", 3).replace("\n", "\x0b", 2)),
    "ids twice": table(_SOUND + _SOUND.partition("\n")[2].replace("cats\n", "dogs\n")),
    "ids that climb": table("id,label\n../../../etc/passwd,a\n/etc/passwd,b\n", refused=True, says="."),
    "100,000 lines": table("id,label\n" + "nobody,x\n" * 100_000, refused=True, says="."),
    "columns of one name": table(_SOUND.replace("id,label", "id,id"), says="."),
    "control characters": labels("\x1b[2J\x07", "\x1b]0;owned\x07", "a\nb"),
    "script": labels(SCRIPT, "javascript:alert(1)"),
    "formulas": labels("=cmd|'/C calc'!A0", "@SUM(1)", "+1", "-1"),
    "NaN": labels("nan", "inf", "-inf", "1e999"),
    "numbers of 5,000 digits": labels("9" * 5000, "1" * 5000),
    "fractions beyond all": labels("1e308", "-1e308", "0.5"),
    "a class a row": labels(*(f"class {i}" for i in range(24))),
    "one class": labels("same"),
    "blanks": labels(" ", "\t", "\u200b"),
    "directions of writing": labels("\u202eevil", "\u2066x"),
    "Parquet noise": table(bytes(range(256)) * 20, True, "labels.parquet"),
    "Parquet empty": table(b"", True, "labels.parquet"),
    "Parquet of lists": parquet(_column([[1]] * 24), refused=True),
    "Parquet of structs": parquet(_column([{"a": 1}] * 24), refused=True),
    "Parquet of bytes": parquet(_column([b"\xff\xfe"] * 24), refused=True),
    "Parquet of NaN": parquet(_column([float("nan")] * 24)),
    "Parquet of infinity": parquet(_column([float("inf"), 1.0] * 12)),
    "Parquet of the largest numbers": parquet(_column([2**63 - 1, -(2**63)] * 12)),
    "Parquet of decimals": parquet(_column([1] * 24, pa.decimal128(38, 0))),
    "Parquet of times": parquet(_column([2**62] * 24, pa.timestamp("ns"))),
    "Parquet of dates beyond all": parquet(_column([2**31 - 1] * 24, pa.date32())),
    "Parquet of durations": parquet(_column([2**62] * 24, pa.duration("s"))),
    "Parquet of nulls": parquet(_column([None] * 24, pa.null())),
    "Parquet of categories": parquet(_column(pa.array(["a", "b"] * 12).dictionary_encode())),
    "Parquet without ids": parquet(lambda: pa.table({"a": [1], "b": [2]})),
    "Parquet without columns": parquet(lambda: pa.table({})),
    "Parquet of ids of numbers": parquet(lambda: pa.table({"id": list(range(24)), "label": ["a", "b"] * 12})),
    "Parquet of ids of lists": parquet(lambda: pa.table({"id": [[1]] * 24, "label": ["a", "b"] * 12})),
    "Parquet of 16 bytes": parquet(_column([b"x" * 16] * 24, pa.binary(16)), refused=True),
    "Parquet of 300 columns": parquet(lambda: pa.table({"id": IDS, **{f"c{i}": [1, 0] * 12 for i in range(300)}})),
    **{f"CSV {name}": _instead(".csv", what) for name, what in _ODD.items()},
    **{f"Parquet {name}": _instead(".parquet", what) for name, what in _ODD.items()},
}  # fmt: skip


# Filters of `--where`: -> whether they must be refused.
WHERE: dict[str, tuple[str, bool]] = {
    "20,000 and": (" and ".join(["width > 0"] * 20_000), False),
    "20,000 or": (" or ".join(["width > 0"] * 20_000), False),
    "20,000 not": ("not " * 20_000 + "width > 0", False),
    "20,000 signs": ("width > " + "-" * 20_000 + "1", True),
    "20,000 comparisons": ("width" + " > 0" * 20_000, False),
    "20,000 parentheses": ("(" * 20_000 + "width > 0" + ")" * 20_000, True),
    "150 parentheses": ("(" * 150 + "width > 0" + ")" * 150, False),
    "20,000 values": (f"width in ({', '.join(map(str, range(20_000)))})", False),
    "brackets in brackets": ("width in " + "[" * 90 + "]" * 90, True),
    "and or of 500 levels": ("(" * 60 + "width > 0" + " and height > 0 or width > 0)" * 60, False),
    "names of 100 kB": ("x" * 100_000 + " == 1", True),
    "a text of 1 MB": (f"label == '{'x' * 1_000_000}'", False),
    "a number of 4,000 digits": (f"width > {'9' * 4000}", False),
    "a number of 5,000 digits": (f"width > {'9' * 5000}", True),
    "2^63": (f"width > {2**63}", False),
    "2^64": (f"width > {2**64}", False),
    "-2^63": (f"width > -{2**63}", False),
    "-2^63 - 1": (f"row > -{2**63 + 1}", False),
    "hexadecimal": ("width > 0x" + "f" * 1000, False),
    "1e999": ("width > 1e999", False),
    "-1e999": ("width > -1e999", False),
    "an imaginary number": ("width > 1j", True),
    "bytes": ("label == b'x'", True),
    "an ellipsis": ("label == ...", True),
    "true": ("width == True", True),
    "none": ("width == None", True),
    "a call": ("__import__('os').system('true')", True),
    "a call of an attribute": ("width.__class__ == 1", True),
    "a lambda": ("(lambda: 1)() == 1", True),
    "a comprehension": ("width in [x for x in range(10**9)]", True),
    "a power": ("width > 9**9**9", True),
    "a text many times": ("label == 'x' * 10**9", True),
    "an f-string": ("label == f'{width}'", True),
    "a walrus": ("(width := 1) == 1", True),
    "await": ("await width", True),
    "yield": ("(yield) == 1", True),
    "a starred value": ("width in (*label, 1)", True),
    "zero bytes": ("width > 0\0", True),
    "a zero byte in a text": ("label == 'a\\0b'", False),
    "half a surrogate": ("label == '\\ud800'", False),
    "half a surrogate as it is": ("label == '\udcff'", False),
    "control characters": ("\x1b[2J == 1", True),
    "control characters in a text": ("label == '\x1b[2J'", False),
    "line ends": ("width > 0\n\nand height > 0", False),
    "a second line": ("width > 0\nimport os", True),
    "a comment": ("width > 0 # x", False),
    "tabs and form feeds": ("\t\f width > 0", False),
    "nothing": ("", True),
    "blanks": ("   ", True),
    "a column only": ("width", True),
    "a number only": ("1", True),
    "two texts": ("'a' == 'a'", False),
    "a text and a number": ("label > 5", True),
    "a number and a text": ("width == 'x'", True),
    "nulls": ("label is not None and split is None", False),
    "is a number": ("width is 5", True),
    "empty values": ("width in ()", False),
    "values of two kinds": ("width in (1, 'x')", False),
    "values of half a surrogate": ("label in ('\\ud800',)", False),
    "a name in full width": ("\uff57idth > 0", False),
    "the vector": ("feature == 1", True),
    "an indent": ("  width > 0\n  ", False),
    "a backslash": ("width > \\", True),
    "a coding line": ("# -*- coding: utf-7 -*-\nwidth > 0", False),
}
