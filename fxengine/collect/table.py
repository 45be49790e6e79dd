"""Reads tables that people bring along: labels, lists of paths. What stands in a text stays as it is."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from fxengine.collect.folder import PICTURE_SUFFIXES
from fxengine.collect.memory import available
from fxengine.errors import InputError, first_line, reason
from fxengine.files import open_regular

# Names of columns that hold ids or paths, in lower case, the most telling first.
ID_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "id")
TABLES = (".csv", ".tsv", ".parquet")

_DELIMITERS = ",\t;"
_SNIFFED = 20  # lines
_ASKED = 20  # cells of the first line that may be an id and no name
HEAD = 100_000  # characters that hold the first line
_LONGEST = 2**31 - 2  # bytes of a text: pyarrow counts those of a block, and the line end behind it, in 32 bits
_COPIES = 4  # of a text while it is read: as bytes, as text, as bytes in UTF-8, as cells
_FEW_ROWS = 1 << 20  # that any Parquet file may have
# The marks of UTF-32 come first: they begin with those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
BYTE_ORDER_MARKS = tuple(mark for mark, _ in _MARKS)


def read_table(
    path: Path, *, called: str = "", is_id: Callable[[str], bool] = lambda _: False
) -> tuple[pa.Table, list[str]]:
    """Return a table, and sentences about what had to be guessed.

    Every column of a .csv or .tsv is text, exactly as it stands there: "001" is no number, and an empty cell is "". A
    .parquet keeps its types. The delimiter is the comma, tab or semicolon by which the first lines have one width,
    in a .tsv the tab. A first line that holds no name of `ID_COLUMNS`, but a picture's name or what `is_id`
    knows, is a row: then that column is called "id", and the others by their place, "2", "3", ...

    Args:
        path: .csv, .tsv or .parquet.
        called: the file in sentences, its path unless given.
        is_id: whether a cell of the first line is an id and no column's name.

    Raises:
        InputError: it is not there, cannot be read, takes more memory than is free, or a line has too many or too few
            fields.
    """
    called = called or str(path)
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, called), []
        data = read_text_file(path, called)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last, of a column's name
        raise InputError(f"{called} cannot be read: {reason(error)}.") from error
    text, notes = decode_text(data, called)
    delimiter = delimiter_of(path, text)
    names, table = _header(text, delimiter), _read_csv(text, delimiter, called)
    named = bool(id_columns(names))
    place = (
        None if named else next((i for i, name in enumerate(names[:_ASKED]) if _is_picture(name) or is_id(name)), None)
    )
    if place is None:
        return table.slice(1).rename_columns(names), notes
    names = ["id" if i == place else str(i + 1) for i in range(len(names))]
    return table.rename_columns(names), [*notes, f"{called} has no header: its first line is taken for a row."]


def id_columns(names: Sequence[str]) -> list[str]:
    """Return those of the names that say that a column holds ids, the most telling first."""
    found = [name for name in names if name.lower() in ID_COLUMNS]
    return sorted(dict.fromkeys(found), key=lambda name: ID_COLUMNS.index(name.lower()))


def column_of(table: pa.Table, name: str, called: str) -> pa.Array:
    """Return a column of plain values: text as strings, categories as what they stand for, everything else as it is.

    Raises:
        InputError: two columns have this name, or its values are lists, structs or bytes.
    """
    ensure_single(table.column_names, name, called)
    values = table.column(name)
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):  # text without a mark, as Spark and Impala write it
        try:
            return values.cast(pa.string()).combine_chunks()
        except pa.ArrowInvalid as error:
            raise InputError(f"The column {name!r} of {called} holds bytes that are no text in UTF-8.") from error
    if pa.types.is_nested(kind) or pa.types.is_fixed_size_binary(kind):
        raise InputError(f"The column {name!r} of {called} holds {kind}: one text or number a row is needed.")
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return values.cast(kind).combine_chunks()


def ensure_single(names: Sequence[str], name: str, called: str) -> None:
    """Raise InputError where more than one column has a name."""
    if (count := names.count(name)) > 1:
        raise InputError(f"{count} columns of {called} are called {name!r}: rename all but one.")


def marked_encoding(data: bytes) -> tuple[bytes, str] | None:
    """Return the byte order mark that a text begins with, and the encoding that it stands for."""
    return next((each for each in _MARKS if data.startswith(each[0])), None)


def decode_text(data: bytes, called: str) -> tuple[str, list[str]]:
    """Return bytes as text without its byte order mark, and a sentence where the encoding had to be guessed.

    Args:
        data: UTF-8, UTF-16 or UTF-32 with a byte order mark, or else Windows-1252.
        called: what they are, in sentences.

    Raises:
        InputError: they are nothing of that kind.
    """
    if found := marked_encoding(data):
        mark, encoding = found
        try:
            return data[len(mark) :].decode(encoding), []
        except UnicodeDecodeError as error:
            raise InputError(f"{called} begins as {encoding} and is none ({error}): save it as UTF-8.") from error
    if b"\0" in data:
        raise InputError(f"{called} holds zero bytes, as no text does: save it as UTF-8.")
    try:
        return data.decode(), []
    except UnicodeDecodeError:
        pass
    try:
        said = f"{called} is not UTF-8: it is read as Windows-1252. Save it as UTF-8 where names look wrong."
        return data.decode("cp1252"), [said]
    except UnicodeDecodeError as error:
        raise InputError(f"{called} is neither UTF-8 nor Windows-1252: save it as UTF-8.") from error


def read_text_file(path: Path, called: str) -> bytes:
    """Return what is in a text file; raises OSError, and InputError where it is over 2 GB or memory is short."""
    with open_regular(path, follow=True) as opened:
        size = os.fstat(opened.fileno()).st_size
        if size > _LONGEST:
            raise InputError(f"{called} cannot be read: it has {size} bytes, a list or table of text up to {_LONGEST}.")
        _ensure_fits(_COPIES * size, called)
        return opened.read()


def _read_parquet(path: Path, called: str) -> pa.Table:
    if path.is_dir():  # a folder of parts is a table as well
        files = [each for each in path.rglob("*") if each.is_file() and not each.name.startswith((".", "_"))]
        texts = {name: kind for file in files for name, kind in _checked_texts(file, called).items()}
        table = pq.read_table(path, read_dictionary=list(texts))
    else:  # by itself, so that two columns of one name are read, too
        texts = _checked_texts(path, called)
        table = pq.ParquetFile(path, read_dictionary=list(texts)).read()
    # A text that the file keeps once is repeated for every row: kept once until that is counted.
    _ensure_fits(sum(map(_text_bytes, table.columns)), called)
    for place, name in enumerate(table.column_names):
        if name in texts:
            table = table.set_column(place, name, table.column(place).cast(texts[name]))
    return table


def _checked_texts(file: Path, called: str) -> dict[str, pa.DataType]:
    """Return a Parquet file's columns of texts; raises InputError where its footer announces more than can be read."""
    with open_regular(file, follow=True) as opened:
        metadata = pq.read_metadata(opened)
        ensure_rows(metadata, os.fstat(opened.fileno()).st_size, called)
    _ensure_fits(sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), called)
    schema = metadata.schema.to_arrow_schema()
    return {field.name: field.type for field in schema if _is_text(field.type)}


def ensure_rows(metadata: pq.FileMetaData, size: int, called: str) -> None:
    """Raise InputError where a Parquet file of `size` bytes announces more rows than they can tell of."""
    # Ids differ from row to row, and take more than a byte each, however well they are packed.
    if metadata.num_rows > max(size, _FEW_ROWS):
        raise InputError(f"{called} cannot be read: it announces {metadata.num_rows} rows in {size} bytes.")


def _is_text(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(is_kind(kind) for is_kind in kinds)


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return how many bytes the texts of a column of categories take, each counted in every row that has it."""
    if not (pa.types.is_dictionary(column.type) and _is_text(column.type.value_type)):
        return 0
    lengths = [pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices) for chunk in column.chunks]
    return sum(pc.sum(each).as_py() or 0 for each in lengths)


def _ensure_fits(count: int, called: str) -> None:
    free = available()
    if free is not None and count > free:
        needed = f"it takes {count / 1e6:.0f} MB of memory, {free / 1e6:.0f} MB are free"
        raise InputError(f"{called} cannot be read: {needed}.")


def delimiter_of(path: Path, text: str) -> str:
    """Return the delimiter of a .csv or .tsv.

    Args:
        path: the file; in a .tsv it is the tab.
        text: what it holds, or its beginning, over `HEAD` characters where it holds more: the delimiter is the one by
            which the first lines have one width, and the largest.
    """
    return "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)


def _delimiter(text: str) -> str:
    """Return the delimiter by which the lines have one width, and the largest."""

    def fits(delimiter: str) -> tuple[bool, int]:
        rows = csv.reader(io.StringIO(text[:HEAD], newline=""), delimiter=delimiter)
        try:
            widths = [len(row) for row in islice((row for row in rows if row), _SNIFFED)]
        except csv.Error:
            widths = []
        # The last one may be cut off.
        widths = widths[:-1] if len(text) > HEAD and len(widths) > 1 else widths
        width = len(_header(text, delimiter))
        return width > 1 and set(widths) <= {width}, width

    return max(_DELIMITERS, key=fits)


def _header(text: str, delimiter: str) -> list[str]:
    """Return the fields of the first line that is not empty."""
    head = text[:HEAD]
    rows = csv.reader(io.StringIO(head if "\n" in head or "\r" in head else text, newline=""), delimiter=delimiter)
    try:
        return [name.strip() for name in next((row for row in rows if row), [])]
    except csv.Error:  # a field beyond csv's limit: it is no delimiter
        return [head]


def _read_csv(text: str, delimiter: str, called: str) -> pa.Table:
    """Return all lines, the first one too, as text columns without names that matter."""
    data = text.encode() + b"\n"
    names = [f"f{i}" for i in range(len(_header(text, delimiter)))]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # One block: a quoted cell may be of any length.
            read_options=pyarrow.csv.ReadOptions(autogenerate_column_names=True, block_size=len(data)),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except (pa.ArrowException, OverflowError) as error:
        wrong = "it is empty" if not text.strip() else _what_is_wrong(text, delimiter) or first_line(error)
        raise InputError(f"{called} cannot be read: {wrong}.") from error
    # A quote that never closes makes one cell of all the lines behind it.
    last = table.slice(max(0, len(table) - 1)).to_pylist()
    if any("\n" in str(cell) for row in last for cell in row.values()) and (wrong := _what_is_wrong(text, delimiter)):
        raise InputError(f"{called} cannot be read: {wrong}.")
    return table


def _what_is_wrong(text: str, delimiter: str) -> str:
    """Return which line does not fit the first one, or ""."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line, width = 1, 0
    try:
        for row in rows:
            width = width or len(row)
            if row and len(row) != width:
                return wrong_width(line, len(row), width, delimiter)
            line = rows.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            return ""
        return wrong_quote(line, str(error))
    return ""


def wrong_width(line: int, count: int, width: int, delimiter: str) -> str:
    """Return that the row that begins in `line` has `count` fields, and not `width`."""
    sign = "tab" if delimiter == "\t" else repr(delimiter)
    return f"line {line} has {_fields(count)} parted by {sign}, the first one has {_fields(width)}"


def wrong_quote(line: int, error: str) -> str:
    """Return that the quotes of the row that begins in `line` are wrong, as csv says in `error`."""
    return f"a quote is missing or one too many in the row that begins in line {line} ({error})"


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES
