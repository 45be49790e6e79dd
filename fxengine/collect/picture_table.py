"""A Parquet file with the bytes of a picture in every row, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxengine.collect.item import SPLITS, TextColumns, escape_path
from fxengine.collect.members import RATIO, Member, inner_path
from fxengine.collect.memory import require
from fxengine.collect.ranges import ranges_of
from fxengine.errors import DecodeError, InputError, reason

_SMALL = 1 << 24  # bytes that a row group may unpack to, however small it is
_DIGITS = 9  # of a row's number, so that bytes sort as numbers
_STORE = b"fxengine"  # the metadata of a feature store's part
_MOST_AT_ONCE = 1 << 27  # bytes of the rows that are read at once
_KEPT = 1 << 24  # bytes of rows that stay in memory
_NEIGHBOURS = 2  # rows at once that stay in any case: two readers go on side by side
_AT_ONCE = 32  # rows
_CURSORS = 2
_BUFFER = 1 << 20  # bytes of a column that are read at once from a server
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


class PictureTable:
    """A Parquet file of pictures that is open; a row group is read at once.

    Attributes:
        cut: always "": a Parquet file that is cut short has no footer, and is none.
    """

    def __init__(self, called: str, opened: BufferedReader) -> None:
        """Read its footer; raises InputError where it is no such file or holds no pictures, and OSError."""
        self.cut, self._called = "", called
        try:
            self._file = pq.ParquetFile(opened, buffer_size=_BUFFER if ranges_of(opened) else 0)
            self._schema = self._file.schema_arrow
            if _STORE in (self._schema.metadata or {}):
                raise InputError(f"{called} is a part of a feature store, which holds vectors and no pictures.")
            self._found: list[str] = [field.name for field in self._schema if self._holds_pictures(field)]
        except pa.ArrowException as error:
            raise InputError(f"{called} is no Parquet file that can be read: {reason(error)}.") from error
        groups = range(self._file.metadata.num_row_groups)
        self._starts: list[int] = [0, *accumulate(self._file.metadata.row_group(group).num_rows for group in groups)]
        self._kept: OrderedDict[tuple[int, str, int], pa.Array] = OrderedDict()
        self._cursors: OrderedDict[tuple[int, str], tuple[int, Iterator[pa.RecordBatch]]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def holds_pictures(self) -> bool:
        """Whether any of its columns does."""
        return bool(self._found)

    def members(self, *, texts: bool, columns: TextColumns = TextColumns()) -> Iterator[Member]:  # noqa: B008 - frozen
        """Yield its rows in their order; raises InputError where a column is missing, or does not hold pictures.

        Args:
            texts: texts in a table are none of these.
            columns: `text` is the column of the pictures, the only one unless named; those of labels and splits.
        """
        name = self._column(columns.text)
        prefix = "" if self._found == [name] else f"{_inner(name)}/"
        labels = columns.label or ("label" if "label" in self._schema.names else None)
        for each in (labels, columns.split):
            self._ensure_single(each)
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
            value = self._value(group, name, member.at - self._starts[group])
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # of the disk or the network, not of pyarrow
                raise DecodeError("io", f"Reading failed: {error.strerror}.") from error
            raise DecodeError("corrupt", f"Its row cannot be read: {reason(error)}.") from error
        data = _data_in(value)
        if data is None:
            raise DecodeError("empty", "The row holds no bytes of a picture.")
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

    def _value(self, group: int, name: str, row: int) -> pa.Scalar:
        """Return what a row of a group holds. Rows are read some at once, and the last ones are kept."""
        rows = self._at_once(group, name)
        with self._lock:
            while (found := self._kept.get((group, name, row // rows))) is None:
                self._read_on(group, name, row // rows)
            self._kept.move_to_end((group, name, row // rows))
            return found[row % rows]

    def _read_on(self, group: int, name: str, wanted: int) -> None:
        """Read the rows that follow in a group, from its first where those that are wanted lie before."""
        number, batches = self._cursors.pop((group, name), (0, None))
        if batches is None or number > wanted:
            number, batches = 0, self._batches(group, name)
        batch = next(batches, None)
        if batch is None:
            raise pa.ArrowInvalid("it has fewer rows than it says")
        self._cursors[group, name] = number + 1, batches
        self._kept[group, name, number] = batch.column(0)
        while len(self._kept) > _NEIGHBOURS and sum(values.nbytes for values in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
        while len(self._cursors) > _CURSORS:
            self._cursors.popitem(last=False)

    def _batches(self, group: int, name: str) -> Iterator[pa.RecordBatch]:
        size = self._bytes(group, name)
        if size > max(_SMALL, RATIO * self._bytes(group, name, packed=True)):
            raise DecodeError("not_a_file", f"Its row group unpacks to over {RATIO} times its size, as no pictures do.")
        require(min(size, _MOST_AT_ONCE), "Reading its row group")
        batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            self._at_once(group, name),
            [group],
            [name],
            use_threads=False,  # of one column: they only take memory
        )
        return batches

    def _at_once(self, group: int, name: str) -> int:
        """Return how many rows are read at once; a group's bytes may be those of one value that all rows have."""
        return max(1, min(_AT_ONCE, _MOST_AT_ONCE // max(1, self._bytes(group, name))))

    def _bytes(self, group: int, name: str, *, packed: bool = False) -> int:
        there = self._file.metadata.row_group(group)
        columns = (column for column in map(there.column, range(there.num_columns)) if _top(column) == name)
        return int(sum(max(0, c.total_compressed_size if packed else c.total_uncompressed_size) for c in columns))

    def _share(self, group: int, name: str) -> int:
        rows: int = self._starts[group + 1] - self._starts[group]
        return self._bytes(group, name) // max(1, rows)

    def _column(self, named: str | None) -> str:
        if named is None:
            for name in self._found:
                self._ensure_single(name)
            if len(self._found) == 1:
                return self._found[0]
            there = ", ".join(self._found or self._schema.names)
            what = (
                f"has several columns of pictures ({there})" if self._found else f"has no column of pictures ({there})"
            )
            raise InputError(f"{self._called} {what}: name one as `column`.")
        if named not in self._schema.names:
            raise InputError(f"{self._called} has no column {named!r}. It has: {', '.join(self._schema.names)}.")
        self._ensure_single(named)
        kind = self._schema.field(named).type
        if not (_is_struct(kind) or _is_bytes(kind)):
            where = f"{named!r} of {self._called}"
            raise InputError(f"The column {where} holds {kind}, not bytes of pictures: name another.")
        return named

    def _holds_pictures(self, field: pa.Field) -> bool:
        if _is_struct(field.type):
            return True
        if not _is_bytes(field.type):
            return False
        first = self._first(field.name)
        return first.startswith(_MAGIC) or first[4:8] == b"ftyp"

    def _first(self, name: str) -> bytes:
        """Return how the first value of a column begins that is not null."""
        for group in range(self._file.metadata.num_row_groups):
            for batch in self._file.iter_batches(self._at_once(group, name), [group], [name]):
                for value in batch.column(0) if batch.column(0).null_count < len(batch) else ():
                    if (data := _data_in(value)) is not None:
                        return bytes(data[:16])
        return b""

    def _ensure_single(self, name: str | None) -> None:
        if name is not None and self._schema.names.count(name) > 1:
            raise InputError(f"{self._called} has two columns that are called {name!r}: give one of them another name.")

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
            raise InputError(f"{self._called} has no column {name!r}. It has: {', '.join(self._schema.names)}.")
        values: list[Any] = pc.cast(table[name], pa.string()).to_pylist() if _is_plain(table[name].type) else []
        return values or [None] * rows


def _inner(column: str) -> str:
    return inner_path(column.replace("/", "\udc2f")) or "\udc2e"


def _named(label: Any, classes: list[str]) -> str | None:
    if label is None or label == "":
        return None
    number = int(label) if str(label).isdecimal() and len(str(label)) <= _DIGITS else len(classes)
    return escape_path(classes[number] if number < len(classes) else str(label))


def _top(column: pq.ColumnChunkMetaData) -> str:
    """Return the name of the column of the table that a column of the file is a part of."""
    return str(column.path_in_schema).split(".")[0]


def _data_in(value: Any) -> pa.Buffer | None:
    """Return the bytes that a row holds, in a struct, in a dictionary, or by themselves."""
    if isinstance(value, pa.StructScalar):
        value = value.get("bytes") if value.is_valid else None
    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    return value.as_buffer() if value is not None and value.is_valid else None


def _is_bytes(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_struct(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(f.name == "bytes" and _is_bytes(f.type) for f in kind)


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or _is_bytes(kind))
