"""Parts: one Parquet file each, the unit of commit. A part is whole or it is not there."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxengine import store_files
from fxengine.collect.item import Item
from fxengine.errors import StoreError, reason
from fxengine.features.footer import damaged, footer_of, mending, open_part, read_footer
from fxengine.features.schema import MOST_ROWS, Provenance, is_vector_column, part_schema
from fxengine.files import TEMPORARY
from fxengine.storage import Found, is_remote, shown

_NAME = re.compile(r"part-([0-9]{6,})\.parquet")
_NEVER_NULL = frozenset({"row", "id", "size", "mtime_ns"})
ROW_GROUP = 512  # rows; what a writer holds in memory, but for more where vectors are short
_GROUP_BYTES = 1 << 20  # of the vectors of a row group at least, where there are so many rows
_NONE: Mapping[str, object] = MappingProxyType({})


class Row(NamedTuple):
    """One row but for its vector; a named tuple, since a run makes one for every input.

    Attributes:
        row: its permanent number.
        item: the input.
        content_hash: SHA-256 of the input's bytes in hex, or None where they could not be read.
        width: upright width in pixels, or None.
        height: upright height in pixels, or None.
        error_code: one of `schema.ERROR_CODES`, or None.
        error: why, for a person, or None.
        further: values of the columns of `schema.COLUMN_GROUPS`; one that is not there is null.
    """

    row: int
    item: Item
    content_hash: str | None
    width: int | None
    height: int | None
    error_code: str | None
    error: str | None
    further: Mapping[str, object] = _NONE


# Column of the store -> field of an `Item`.
_OF_ITEMS = {"id": "key", "label": "label", "split": "split", "size": "size", "mtime_ns": "mtime_ns"}

# Column name -> [n, dim] for many rows, [dim] for one, in the store's type.
Vectors = Mapping[str, np.ndarray]


def part_table(rows: Sequence[Row], vectors: Vectors, provenance: Provenance) -> pa.Table:
    """Return the table of a part; `vectors` may hold anything in rows with an error."""
    schema = part_schema(provenance)
    made, listed = _by_field(Row, rows), _by_field(Item, [row.item for row in rows])
    missing = np.array([code is not None for code in made["error_code"]], bool)
    columns = {
        **{name: made[name] for name in ("row", "content_hash", "width", "height", "error_code", "error")},
        **{column: listed[field] for column, field in _OF_ITEMS.items()},
    }
    arrays = [pa.array(columns[name], schema.field(name).type) for name in schema.names if name in columns]
    arrays += [vector_array(vectors[name], missing, schema.field(name).type) for name in provenance.columns]
    further = made["further"]
    arrays += [pa.array([values.get(each.name) for values in further], each.type) for each in provenance.further]
    return pa.Table.from_arrays(arrays, schema=schema)


def _by_field(kind: type[Row] | type[Item], tuples: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    """Return the values of named tuples by the name of the field: a row's are too many to be asked for one by one."""
    turned = zip(*tuples, strict=True) if tuples else [()] * len(kind._fields)
    return dict(zip(kind._fields, turned, strict=True))


def vector_array(vectors: np.ndarray, missing: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return [n, dim] numbers as a column in which `missing` rows are null."""
    lengths = np.where(missing, 0, vectors.shape[1])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = np.ascontiguousarray(vectors if not missing.any() else vectors[~missing])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)), type=kind, mask=pa.array(missing))


def vector_matrix(column: pa.Array, dim: int) -> np.ndarray:
    """Return a column's numbers as [n, dim], zeros in rows that are null; without a copy where none is.

    Raises:
        StoreError: a vector has more or fewer numbers: all that follow would be shifted.
    """
    lengths = _lengths(column)
    if column.null_count:
        lengths = lengths[np.asarray(column.is_valid())]
    if (lengths != dim).any():
        raise StoreError(f"A vector has {lengths[lengths != dim][0]} numbers, not {dim}.")
    flat = _numbers(column.flatten())  # leaves the null rows out
    if not column.null_count:
        return flat.reshape(len(column), dim)
    matrix = np.zeros((len(column), dim), flat.dtype)
    matrix[np.asarray(column.is_valid())] = flat.reshape(-1, dim)
    return matrix


def _numbers(values: pa.Array) -> np.ndarray:
    """Return an array without nulls as numpy sees it, without a copy."""
    number = np.dtype(values.type.to_pandas_dtype())
    return np.frombuffer(values.buffers()[1], number, len(values), values.offset * number.itemsize)


def is_store(folder: Path) -> bool:
    """Tell whether there is a part in a folder, which may as well be one of a million pictures.

    Raises:
        StoreError: what is there cannot be listed.
    """
    with unlisted(folder):
        may = store_files.may_have(folder, "part-")
    return may and bool(list_parts(folder))


def list_parts(folder: Path) -> list[Path]:
    """Return the store's parts in the order of their numbers, none where there is no store.

    Raises:
        StoreError: what is there cannot be listed.
    """
    with unlisted(folder):
        return sorted((folder / name for name in store_files.names(folder) if _NAME.fullmatch(name)), key=part_number)


@contextmanager
def unlisted(folder: Path) -> Iterator[None]:
    """Say in a StoreError why a store cannot be listed, and what to do."""
    try:
        yield
    except OSError as error:
        why = store_files.reason_of(folder, error) or f"{reason(error).rstrip('.')}."
        raise StoreError(f"{shown(folder)} cannot be listed: {why}") from error


def part_number(path: Path) -> int:
    """Return the number in a part's name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise StoreError(f"{shown(path)} is not named like a part.")
    return int(match[1])


def part_path(folder: Path, number: int) -> Path:
    """Return the path of part `number`."""
    return folder / f"part-{number:06d}.parquet"


def group_rows(provenance: Provenance) -> int:
    """Return how many rows a writer collects for a row group."""
    row = np.dtype(provenance.dtype).itemsize * sum(provenance.columns.values())
    return max(ROW_GROUP, _GROUP_BYTES // row)


def next_part_number(paths: Iterable[Path]) -> int:
    """Return the number that the next new part of a store with these gets."""
    return max(map(part_number, paths), default=-1) + 1


def read_provenance(path: Path) -> Provenance:
    """Return what a part was made from.

    Raises:
        StoreError: the file is cut short, empty, or not ours.
    """
    return read_footer(path).provenance


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a part's table, its pages checked against their checksums and its rows for what no row can hold.

    Args:
        path: the part.
        columns: which columns, in this order; all that it has unless given. Those of a column group that the part has
            not are null.

    Raises:
        StoreError: the file is damaged, or a vector has another length, a value that is not finite, or an error.
    """
    wanted = None if columns is None else list(columns)
    helping = []
    if wanted is not None and any(map(is_vector_column, wanted)) and "error_code" not in wanted:
        helping = ["error_code"]  # says which rows may have no vector
        wanted += helping
    whole = wanted is None or any(map(is_vector_column, wanted))
    try:
        with open_part(path, whole=whole) as opened:
            provenance = footer_of(opened, path, wanted).provenance
            with pq.ParquetFile(opened, page_checksum_verification=True) as file:
                # Leaves out what the part has not. Arrow has fewer threads than a bucket has parts to wait for.
                table = file.read(columns=wanted, use_threads=not is_remote(path))
        vectors = [name for name in provenance.columns if wanted is None or name in wanted]
        _check_small(table.drop_columns(vectors), path)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    lacking = [each for each in provenance.lacking if wanted is not None and each.name in wanted]
    for each in lacking:
        if each.name in table.column_names:
            raise damaged(path, f"it has a column {each.name!r}, and does not say of which group")
    for name in vectors:
        _check_vectors(table, name, provenance.columns[name], path)
    for each in lacking:
        table = table.append_column(each, pa.nulls(len(table), each.type))
    return table if columns is None else table.select(columns)


def _check_small(table: pa.Table, path: Path) -> None:
    """Raise StoreError or ArrowInvalid where a value is null that must not be, is no UTF-8, or is no row number."""
    table.validate(full=True)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and name in _NEVER_NULL:
            raise damaged(path, f"{column.null_count} rows have no {name!r}")
    if "row" in table.column_names and len(table):
        ends = pc.min_max(table["row"]).as_py()
        if ends["min"] < 0 or ends["max"] >= MOST_ROWS:
            raise damaged(path, f"its row numbers go from {ends['min']} to {ends['max']}")


def _check_vectors(table: pa.Table, name: str, dim: int, path: Path) -> None:
    failed, begin = np.asarray(table["error_code"].is_valid()), 0
    for chunk in table[name].chunks:
        bad = bad_vector(chunk, failed[begin : begin + len(chunk)], dim)
        if bad is not None:
            raise bad_row(path, begin + bad[0], bad[1])
        begin += len(chunk)


def bad_vector(vectors: pa.Array, failed: np.ndarray, dim: int) -> tuple[int, str] | None:
    """Return (place, what is wrong) of the first row whose vector is not what its row says, or None.

    The row's id belongs into the `{}` of the sentence.

    Args:
        vectors: a part's column of vectors or a piece of it, n rows.
        failed: which rows have an error, bool [n].
        dim: numbers that a vector has.
    """
    missing = np.asarray(vectors.is_null())
    if (missing != failed).any():
        at = int(np.argmax(missing != failed))
        return at, f"the row of {{}} has {'neither a vector nor' if missing[at] else 'both a vector and'} an error"
    lengths = _lengths(vectors)
    wrong = (lengths != dim) & ~missing
    if wrong.any():
        at = int(np.argmax(wrong))
        return at, f"the vector of {{}} has {lengths[at]} numbers, not {dim}"
    first, last = vectors.offsets[0].as_py(), vectors.offsets[-1].as_py()
    if not _all_finite(_numbers(vectors.values[first:last])):
        finite = np.isfinite(vector_matrix(vectors, dim)).all(axis=1)
        if not finite.all():  # else the value lies under a null
            return int(np.argmin(finite)), "the vector of {} has values that are not finite"
    return None


def _lengths(column: pa.Array) -> np.ndarray:
    """Return how many numbers each row holds, int32 [n]."""
    lengths: np.ndarray = np.diff(np.asarray(column.offsets))
    return lengths


def _all_finite(values: np.ndarray) -> bool:
    """Tell whether no value is infinite or NaN; by their bits, in an eighth of what np.isfinite takes in float16.

    Read as integers with a sign, infinity and NaN are the largest; read without one, negative ones are.
    """
    if not values.size:
        return True
    bits, infinite = 8 * values.itemsize, int(values.dtype.type(np.inf).view(f"i{values.itemsize}"))
    signed, unsigned = values.view(f"i{values.itemsize}"), values.view(f"u{values.itemsize}")
    return bool(signed.max() < infinite and unsigned.max() < infinite + (1 << (bits - 1)))


def bad_row(path: Path, at: int, problem: str) -> StoreError:
    """Return the error for a row of a part; its id comes into the `{}` of the sentence."""
    key = read_part(path, ["id"])["id"][at].as_py()
    return StoreError(f"{shown(path)} is damaged: {problem.format(repr(key))}. {mending(path.parent)}")


class OpenPart:
    """A part that is being written to a temporary name, row group by row group, until it is committed."""

    def __init__(self, path: Path, schema: pa.Schema, read: Found | None = None) -> None:
        """Open the temporary file; `read` as for `store_files.make`. Raises StoreError where that cannot be done."""
        self._path = path
        self._rows = 0
        self._open = ExitStack()
        names = [name for name in schema.names if not is_vector_column(name)]
        with self._explained():
            self._new = self._open.enter_context(closing(store_files.make(path, read)))
            self._file = self._open.enter_context(self._new.path.open("wb"))
            # zstd takes 35% off real features and a third of the reading speed (docs/store.md); byte-stream-split
            # would take 40%, but DuckDB cannot read it in float16. Statistics and dictionaries gain nothing.
            self._writer = pq.ParquetWriter(
                self._file,
                schema,
                compression="zstd",
                use_dictionary=["label", "split", "error_code"],
                write_statistics=names,
                write_page_checksum=True,
            )

    def write(self, table: pa.Table) -> None:
        """Add a row group; raises StoreError where the disk is full."""
        with self._explained():
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._rows += table.num_rows

    def commit(self, *, replace: bool = False) -> None:
        """Flush to the disk, check, rename; raises StoreError, and then leaves nothing behind."""
        with self._explained():
            self._close()
            if not replace and store_files.is_there(self._path):
                raise StoreError(
                    f"{shown(self._path)} appeared while it was being written: is another process writing to "
                    f"{shown(self._path.parent)}?"
                )
            self._new.commit()
        self.discard()

    def create(self) -> bool:
        """Commit as `files.Replacement.create` does: tell whether nothing had the name; raises StoreError."""
        with self._explained():
            self._close()
            created = self._new.create()
        self.discard()
        return created

    def _close(self) -> None:
        self._writer.close()
        self._file.close()
        with self._new.path.open("rb") as made:  # a path such as "run:1/..." pyarrow would take for an address
            rows = pq.read_metadata(made).num_rows
        if rows != self._rows:
            raise StoreError(f"{self._new.path} did not read back whole. Is the disk failing?")

    def discard(self) -> None:
        """Remove the temporary file unless it was committed."""
        with suppress(OSError):
            self._open.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            space = "" if is_remote(self._path) and error.errno != errno.ENOSPC else "free some space and "
            raise StoreError(
                f"Cannot write {shown(self._path)}: {error.strerror or error}. Committed parts are intact; {space}run "
                "the same command again."
            ) from error
        except BaseException:
            self.discard()
            raise


def write_part(table: pa.Table, path: Path, *, replace: bool = False, read: Found | None = None) -> None:
    """Commit a whole part at once.

    Args:
        table: its rows.
        path: the part.
        replace: whether it takes the place of another one.
        read: the state in which that was read, as `store_files.state` gives it; that of this moment unless given.

    Raises:
        StoreError: the disk is full, the folder cannot be written to, or another process has written the part since;
            nothing is left behind.
    """
    part = OpenPart(path, table.schema, read)
    for start in range(0, max(1, table.num_rows), ROW_GROUP):
        part.write(table.slice(start, ROW_GROUP))
    part.commit(replace=replace)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed run left half-written; only call it while holding the store's lock."""
    if is_remote(folder):
        return  # where nothing is half-written
    for pattern in (f".part-*.parquet{TEMPORARY}*", f".next_row{TEMPORARY}*"):
        for path in folder.glob(pattern):
            with suppress(OSError):  # no writer of ours leaves a folder
                path.unlink()
