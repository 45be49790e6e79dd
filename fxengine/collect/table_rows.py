"""Reads the rows of a table one after the other: .csv, .tsv, .jsonl, .ndjson, .parquet, and a text's lines."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from fxengine.collect.memory import available
from fxengine.collect.table import (
    HEAD,
    delimiter_of,
    ensure_rows,
    marked_encoding,
    wrong_quote,
    wrong_width,
)
from fxengine.errors import InputError

LONGEST = 1 << 30  # characters of a row, and bytes of a text

_COPIES = 16  # bytes of memory that a character of a row may take while csv puts it together
_MOST_NAMES = 1000  # of columns in a .jsonl
_BATCH_SHARE = 8  # of the free memory, what texts of a Parquet file may take that are read at once
_STORE = b"fxengine"  # the metadata of a feature store's part
_BUFFER = 1 << 16  # bytes
_ROWS = 4096  # of a Parquet file at once
_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)


@dataclass(frozen=True)
class Rows:
    """A table whose rows are read once.

    Attributes:
        names: of its columns, as often as they are there.
        read: numbers of columns -> the values in them, a tuple a row. Text is str, or bytes that may be no UTF-8; what
            is missing is None. Raises InputError, and what pyarrow and the system raise.
        other: the type of each column that holds no texts, by its name, where the file says types.
    """

    names: list[str]
    read: Callable[[Sequence[int]], Iterator[tuple[Any, ...]]]
    other: dict[str, str] = field(default_factory=dict)


def open_rows(opened: BufferedReader, path: Path, called: str) -> Rows:
    """Return the rows of a table, of which one is held at a time; of a Parquet file, a few.

    Args:
        opened: the table.
        path: its path; the suffix says what it is, one of `READERS`.
        called: the table in sentences.

    Raises:
        InputError: it is none, a line of it is not UTF-8, or the like; reading the rows may raise it, too.
    """
    return READERS[path.suffix.lower()](opened, path, called)


def _lines(opened: BufferedReader, called: str, newline: str) -> Iterator[str]:
    """Yield the lines of a text with their ends; what ends one, `newline` says as in `open`."""
    most = _longest()
    number = 0
    with _decoded(opened, newline) as stream:
        while line := _next_line(stream, most + 1, called):
            number += 1
            if len(line) > most:
                raise InputError(f"{called} cannot be read: line {number} is longer than {most} characters.")
            if wrong := _what_is_wrong(line):
                raise InputError(f"{called} cannot be read: line {number} {wrong}: save it as UTF-8.")
            yield line


def _longest() -> int:
    """Return how many characters a row may have: more would not fit into memory."""
    free = available()
    return LONGEST if free is None else min(LONGEST, free // _COPIES)


def _decoded(opened: BufferedReader, newline: str) -> TextIO:
    """Return what follows the byte order mark as text; of UTF-8, bytes that are none as surrogates.

    Closing it leaves `opened` open.
    """
    mark, encoding = marked_encoding(os.pread(opened.fileno(), 4, 0)) or (b"", "utf-8")
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    handle = os.dup(opened.fileno())
    os.lseek(handle, len(mark), os.SEEK_SET)
    return open(handle, encoding=encoding, errors=errors, newline=newline)  # noqa: PTH123


def _next_line(stream: TextIO, most: int, called: str) -> str:
    try:
        return stream.readline(most)
    except UnicodeDecodeError as error:
        raise InputError(f"{called} begins as {error.encoding} and is none ({error}): save it as UTF-8.") from error


def _what_is_wrong(line: str) -> str:
    if "\0" in line:
        return "holds a zero byte, as no text does"
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError as error:
            return f"is not UTF-8 (byte 0x{ord(line[error.start]) & 0xFF:02x})"
    return ""


def _open_lines(opened: BufferedReader, path: Path, called: str) -> Rows:
    """Return a .txt as the only column, "text": a line a row."""

    def read(_: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        for line in _lines(opened, called, "\n"):
            yield (line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line,)

    return Rows(["text"], read)


def _open_csv(opened: BufferedReader, path: Path, called: str) -> Rows:
    # Of the whole process: never lowered again, since another thread may be reading. `_csv_rows` bounds rows.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    head = ""
    with _decoded(opened, "") as stream, suppress(UnicodeDecodeError):  # said by `_lines`, which reads it again
        head = stream.read(HEAD + 1)
    delimiter = delimiter_of(path, head)
    rows = _csv_rows(_lines(opened, called, ""), delimiter, called)
    names = [name.strip() for name in next(rows, ())]
    if not names:
        raise InputError(f"{called} cannot be read: it is empty.")
    return Rows(names, lambda columns: (tuple([row[i] for i in columns]) for row in rows))


def _csv_rows(lines: Iterator[str], delimiter: str, called: str) -> Iterator[list[str]]:
    """Yield the rows that hold anything; all have as many fields as the first one."""
    record: list[str] = []  # the lines of the row that is being read
    begin, width, most = 1, 0, _longest()

    def feed() -> Iterator[str]:
        length = 0
        for line in lines:
            length = length + len(line) if record else len(line)
            if length > most:
                said = wrong_quote(begin, f"it is longer than {most} characters")
                raise InputError(f"{called} cannot be read: {said}.")
            record.append(line)
            yield line
        if record:
            raise InputError(f"{called} cannot be read: {wrong_quote(begin, 'unexpected end of data')}.")

    for row in csv.reader(feed(), delimiter=delimiter):
        width = width or len(row)
        # A quote too many is one cell with the lines up to the next quote, which no lenient reader tells from text.
        if len(record) > 1 and (wrong := _strictly(record, delimiter)):
            raise InputError(f"{called} cannot be read: {wrong_quote(begin, wrong)}.")
        if row and len(row) != width:
            raise InputError(f"{called} cannot be read: {wrong_width(begin, len(row), width, delimiter)}.")
        begin += len(record)
        record.clear()
        if row:
            yield row


def _strictly(record: list[str], delimiter: str) -> str:
    """Return what csv says against the lines of a row where it is strict, or ""."""
    try:
        list(csv.reader(record, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return str(error)
    return ""


def _open_jsonl(opened: BufferedReader, path: Path, called: str) -> Rows:
    """Return the objects of a .jsonl; its columns are the keys of all of them, for which it is read once more."""
    known = dict[str, None]()
    for each in _objects(opened, called):
        known.update(dict.fromkeys(each))
        if len(known) > _MOST_NAMES:
            raise InputError(f"{called} has over {_MOST_NAMES} different keys: it is no table.")
    names = list(known)
    if not names:
        raise InputError(f"{called} cannot be read: it is empty.")

    def read(columns: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        for each in _objects(opened, called):
            yield tuple([each.get(names[i]) for i in columns])

    return Rows(names, read)


def _objects(opened: BufferedReader, called: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(opened, called, "\n"), 1):
        if line.isspace():
            continue
        try:
            found = json.loads(line)
        except RecursionError as error:
            raise InputError(f"{called} cannot be read: line {number} is nested too deeply.") from error
        except ValueError as error:
            said = getattr(error, "msg", None) or error
            raise InputError(f"{called} cannot be read: line {number} is no JSON ({said}).") from error
        if not isinstance(found, dict):
            raise InputError(f"{called} cannot be read: line {number} is JSON, but no object: {{...}} is needed.")
        yield found


def _open_parquet(opened: BufferedReader, path: Path, called: str) -> Rows:
    file = pq.ParquetFile(opened, buffer_size=_BUFFER)
    schema = file.schema_arrow
    ensure_rows(file.metadata, os.fstat(opened.fileno()).st_size, called)
    if _STORE in (schema.metadata or {}):
        raise InputError(
            f"{called} is a part of a feature store, which holds no texts: name the table that they are in."
        )
    other = {each.name: str(each.type) for each in schema if not _is_text(each.type)}

    def read(columns: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        wanted = [schema.names[i] for i in columns]
        names = list(dict.fromkeys(wanted))
        for group in range(file.num_row_groups):
            for batch in _batches(file, group, names, _rows_at_once(file, group, names)):
                # A name with a dot may bring others along.
                values = {name: _values(batch.column(batch.schema.names.index(name))) for name in names}
                yield from zip(*[values[name] for name in wanted], strict=True)

    return Rows(schema.names, read, other)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in _TEXTS)


def _batches(file: pq.ParquetFile, group: int, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    # In this thread: others keep the memory of what they have read for themselves.
    batches: Iterator[pa.RecordBatch] = file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False)
    return batches


def _rows_at_once(file: pq.ParquetFile, group: int, names: Sequence[str]) -> int:
    """Return how many rows of a group fit into memory, though a text that it keeps once may be that of all of them.

    Such a text is as long as its column is, as it is packed there, at most. A column of categories stays packed.
    """
    first = next(_batches(file, group, names, 1), None)
    # Only now, when it was read without complaint: of a damaged one, `column` would end the process.
    metadata, paths = file.metadata.row_group(group), [each.path for each in file.schema]
    repeated = (
        [each.name for each in first.schema if _is_text(each.type) and not pa.types.is_dictionary(each.type)]
        if first
        else []
    )
    longest = max((metadata.column(paths.index(name)).total_uncompressed_size for name in repeated), default=0)
    free = available()
    most = LONGEST if free is None else min(LONGEST, free // _BATCH_SHARE)
    return max(1, min(_ROWS, most // max(1, longest)))


def _values(column: pa.Array) -> list[Any]:
    """Return the values of a column; texts as bytes, since no reader checks that they are UTF-8."""
    if not _is_text(column.type):
        values: list[Any] = column.to_pylist()
        return values
    if not pa.types.is_dictionary(column.type):
        # Of the same width, so that nothing is copied.
        texts: list[Any] = column.cast(
            pa.binary() if pa.types.is_string(column.type) else pa.large_binary()
        ).to_pylist()
        return texts
    words = column.dictionary.cast(pa.large_binary())
    return [None if i is None else words[i].as_py() for i in column.indices.to_pylist()]


# Suffix -> what reads such a table.
READERS: dict[str, Callable[[BufferedReader, Path, str], Rows]] = {
    ".csv": _open_csv,
    ".tsv": _open_csv,
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
    ".parquet": _open_parquet,
    ".txt": _open_lines,
}
