"""A Parquet file with the bytes of a picture in every row, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxengine.collect.item import SPLITS, TextColumns, escape_path
from fxengine.collect.members import Member, inner_path
from fxengine.collect.memory import require
from fxengine.errors import DecodeError, InputError, reason
from fxengine.files import open_regular

_DIGITS = 9  # of a row's number, so that bytes sort as numbers
_STORE = b"fxengine"  # the metadata of a feature store's part
_KEPT = 2  # row groups in memory: what two readers of neighbouring rows want
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


class PictureTable:
    """A Parquet file of pictures that is open; a row group is read at once.

    Attributes:
        cut: always "": a Parquet file that is cut short has no footer, and is none.
    """

    def __init__(self, path: Path) -> None:
        """Read its footer; raises InputError where it is no such file or holds no pictures, and OSError."""
        self.cut, self._path = "", path
        try:
            self._file = pq.ParquetFile(open_regular(path, follow=True))
            self._schema = self._file.schema_arrow
            if _STORE in (self._schema.metadata or {}):
                raise InputError(f"{path} is a part of a feature store, which holds vectors and no pictures.")
            self._found: list[str] = [field.name for field in self._schema if self._holds_pictures(field)]
        except pa.ArrowException as error:
            raise InputError(f"{path} is no Parquet file that can be read: {reason(error)}.") from error
        groups = range(self._file.metadata.num_row_groups)
        self._starts: list[int] = [0, *accumulate(self._file.metadata.row_group(group).num_rows for group in groups)]
        self._kept: OrderedDict[tuple[int, str], pa.Array] = OrderedDict()
        self._lock = threading.Lock()

    def members(self, *, texts: bool, columns: TextColumns = TextColumns()) -> Iterator[Member]:  # noqa: B008 - frozen
        """Yield its rows in their order; raises InputError where a column is missing, or does not hold pictures.

        Args:
            texts: texts in a table are none of these.
            columns: `text` is the column of the pictures, the only one unless named; those of labels and splits.
        """
        name = self._column(columns.text)
        prefix = "" if self._found == [name] else f"{_inner(name)}/"
        labels = columns.label or ("label" if "label" in self._schema.names else None)
        classes = self._class_names(labels)
        for group, start in enumerate(self._starts[:-1]):
            size = self._share(group, name)
            beside = self._file.read_row_group(group, [n for n in {labels, columns.split} if n is not None])
            rows = self._starts[group + 1] - start
            of_label = self._values(beside, labels, rows)
            of_split = self._values(beside, columns.split, rows)
            for number, (label, split) in enumerate(zip(of_label, of_split, strict=True), start):
                split = str(split).lower() if str(split).lower() in SPLITS else None
                yield Member(f"{prefix}{number:0{_DIGITS}d}", size, number, _named(label, classes), split)

    def find(self, path: str) -> Member | None:
        """Return the row at a path inside, None where there is none."""
        name, digits = self._name_in(path), path.rpartition("/")[2]
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) == _DIGITS else -1
        if name is None or not 0 <= number < self._starts[-1]:
            return None
        return Member(path, self._share(self._group_of(number), name), number)

    def read(self, member: Member, max_bytes: int) -> bytes:
        """Return the bytes of a row's picture; any thread may ask.

        Raises:
            DecodeError: there is none, it is larger than `max_bytes`, or the file is damaged.
        """
        group, name = self._group_of(member.at), self._name_in(member.path)
        assert name is not None, "a member has a column"
        try:
            value: Any = self._values_of(group, name)[member.at - self._starts[group]]
        except (pa.ArrowException, OSError) as error:
            raise DecodeError("corrupt", f"Its row cannot be read: {reason(error)}.") from error
        if isinstance(value, pa.StructScalar):
            value = value.get("bytes") if value.is_valid else None
        if value is None or not value.is_valid:
            raise DecodeError("empty", "The row holds no bytes of a picture.")
        data = value.as_buffer()
        if data.size > max_bytes:
            raise DecodeError("too_large", f"{data.size} bytes; `max_bytes` allows {max_bytes}.")
        return bytes(data)

    def _group_of(self, number: int) -> int:
        return bisect_right(self._starts, number) - 1

    def _name_in(self, path: str) -> str | None:
        """Return the column of the pictures that a path names, or leaves out where there is only one."""
        column = path.rpartition("/")[0]
        if not column:
            return self._found[0] if len(self._found) == 1 else None
        fields = (field for field in self._schema if _is_struct(field.type) or _is_bytes(field.type))
        return next((str(field.name) for field in fields if _inner(field.name) == column), None)

    def _values_of(self, group: int, name: str) -> pa.Array:
        with self._lock:
            if (group, name) in self._kept:
                self._kept.move_to_end((group, name))
                return self._kept[group, name]
            require(self._bytes(group, name), "Reading its row group")
            values: pa.Array = self._file.read_row_group(group, [name]).column(0).combine_chunks()
            self._kept[group, name] = values
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return values

    def _bytes(self, group: int, name: str) -> int:
        there = self._file.metadata.row_group(group)
        columns = map(there.column, range(there.num_columns))
        return int(sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == name))

    def _share(self, group: int, name: str) -> int:
        rows: int = self._starts[group + 1] - self._starts[group]
        return self._bytes(group, name) // max(1, rows)

    def _column(self, named: str | None) -> str:
        if named is None:
            if len(self._found) == 1:
                return self._found[0]
            there = ", ".join(self._found or self._schema.names)
            what = (
                f"has several columns of pictures ({there})" if self._found else f"has no column of pictures ({there})"
            )
            raise InputError(f"{self._path} {what}: name one as `column`.")
        if named not in self._schema.names:
            raise InputError(f"{self._path} has no column {named!r}. It has: {', '.join(self._schema.names)}.")
        kind = self._schema.field(named).type
        if not (_is_struct(kind) or _is_bytes(kind)):
            raise InputError(f"The column {named!r} of {self._path} holds {kind}, not bytes of pictures: name another.")
        return named

    def _holds_pictures(self, field: pa.Field) -> bool:
        if _is_struct(field.type):
            return True
        if not _is_bytes(field.type) or not self._file.metadata.num_row_groups:
            return False
        batch = next(self._file.iter_batches(1, [0], [field.name]), None)
        first = batch.column(0)[0].as_py() if batch is not None and len(batch) else None
        return first is not None and (first.startswith(_MAGIC) or first[4:8] == b"ftyp")

    def _class_names(self, column: str | None) -> list[str]:
        facts: Any = {}
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            facts = json.loads(self._schema.metadata[b"huggingface"])["info"]["features"][column]
        names = facts.get("names") if isinstance(facts, dict) else None
        return [*map(str, names)] if isinstance(names, list) else []

    def _values(self, table: pa.Table, name: str | None, rows: int) -> list[Any]:
        if name is None:
            return [None] * rows
        if name not in table.column_names:
            raise InputError(f"{self._path} has no column {name!r}. It has: {', '.join(self._schema.names)}.")
        values: list[Any] = pc.cast(table[name], pa.string()).to_pylist() if _is_plain(table[name].type) else []
        return values or [None] * rows


def holds_pictures(path: Path) -> bool:
    """Tell whether a file is a Parquet file with one or more columns of pictures."""
    try:
        return path.suffix.lower() == ".parquet" and bool(PictureTable(path)._found)
    except (InputError, OSError):
        return False


def _inner(column: str) -> str:
    return inner_path(column.replace("/", "\udc2f")) or "\udc2e"


def _named(label: Any, classes: list[str]) -> str | None:
    if label is None or label == "":
        return None
    number = int(label) if str(label).isdecimal() else len(classes)
    return escape_path(classes[number] if number < len(classes) else str(label))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_struct(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(f.name == "bytes" and _is_bytes(f.type) for f in kind)


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or _is_bytes(kind))
