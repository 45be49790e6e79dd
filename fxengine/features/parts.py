"""Parts: one Parquet file each, the unit of commit. A part is whole or it is not there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from fxengine.errors import StoreError
from fxengine.features.schema import PART_PATTERN, Item, Provenance, is_vector_column, part_schema

_NUMBER = re.compile(r"part-(\d+)\.parquet$")
_TEMPORARY = ".tmp-"
ROW_GROUP = 512  # rows; what a writer holds in memory


@dataclass(frozen=True)
class Row:
    """One row but for its vector.

    Attributes:
        row: its permanent number.
        item: the input.
        content_hash: SHA-256 of the input's bytes in hex, or None where they could not be read.
        width: upright width in pixels, or None.
        height: upright height in pixels, or None.
        error_code: one of `schema.ERROR_CODES`, or None.
        error: why, for a person, or None.
    """

    row: int
    item: Item
    content_hash: str | None
    width: int | None
    height: int | None
    error_code: str | None
    error: str | None


# Column name -> [n, dim] for many rows, [dim] for one, in the store's type.
Vectors = Mapping[str, np.ndarray]


def part_table(rows: Sequence[Row], vectors: Vectors, provenance: Provenance) -> pa.Table:
    """Return the table of a part; `vectors` may hold anything in rows with an error."""
    schema = part_schema(provenance)
    missing = np.array([row.error_code is not None for row in rows], bool)
    columns: dict[str, Any] = {
        "row": [row.row for row in rows],
        "id": [row.item.key for row in rows],
        "label": [row.item.label for row in rows],
        "split": [row.item.split for row in rows],
        "size": [row.item.size for row in rows],
        "mtime_ns": [row.item.mtime_ns for row in rows],
        "content_hash": [row.content_hash for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "error_code": [row.error_code for row in rows],
        "error": [row.error for row in rows],
    }
    arrays = [pa.array(values, schema.field(name).type) for name, values in columns.items()]
    arrays += [vector_array(vectors[name], missing, schema.field(name).type) for name in provenance.columns]
    return pa.Table.from_arrays(arrays, schema=schema)


def vector_array(vectors: np.ndarray, missing: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return [n, dim] numbers as a column in which `missing` rows are null."""
    lengths = np.where(missing, 0, vectors.shape[1])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = np.ascontiguousarray(vectors if not missing.any() else vectors[~missing])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)), type=kind, mask=pa.array(missing))


def vector_matrix(column: pa.Array, dim: int) -> np.ndarray:
    """Return a column's numbers as [n, dim], zeros in rows that are null; without a copy where none is."""
    values = column.flatten()  # leaves the null rows out
    number = np.dtype(values.type.to_pandas_dtype())
    flat = np.frombuffer(values.buffers()[1], number, len(values), values.offset * number.itemsize)
    if not column.null_count:
        return flat.reshape(len(column), dim)
    matrix = np.zeros((len(column), dim), number)
    matrix[np.asarray(column.is_valid())] = flat.reshape(-1, dim)
    return matrix


def list_parts(folder: Path) -> list[Path]:
    """Return the store's parts in the order of their numbers."""
    return sorted((p for p in folder.glob(PART_PATTERN) if _NUMBER.search(p.name)), key=part_number)


def part_number(path: Path) -> int:
    """Return the number in a part's name."""
    match = _NUMBER.search(path.name)
    if match is None:
        raise StoreError(f"{path} is not named like a part.")
    return int(match[1])


def part_path(folder: Path, number: int) -> Path:
    """Return the path of part `number`."""
    return folder / f"part-{number:06d}.parquet"


def read_provenance(path: Path) -> Provenance:
    """Return what a part was made from.

    Raises:
        StoreError: the file is cut short, empty, or not ours.
    """
    return Provenance.from_schema(read_schema(path), path.name)


def read_schema(path: Path) -> pa.Schema:
    """Return a part's schema; raises StoreError where its footer cannot be read."""
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> StoreError:
    """Return the error for a part that cannot be read."""
    reason = str(error).splitlines()[0][:160]
    return StoreError(f"{path} is damaged ({reason}). `fxengine verify {path.parent} --repair` makes it anew.")


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a part's table, its pages checked against their checksums.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def scan(paths: Sequence[Path], column: str) -> Iterator[pa.Array]:
    """Yield one column of several parts in their order, piece by piece, decoded ahead by Arrow's own threads.

    Raises:
        StoreError: a part is damaged.
    """
    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    files = ds.dataset(
        [str(path) for path in paths], format=ds.ParquetFileFormat(default_fragment_scan_options=options)
    )
    try:
        for batch in files.to_batches(columns=[column], batch_size=ROW_GROUP, batch_readahead=8, fragment_readahead=2):
            yield batch.column(0)
    except (pa.ArrowException, OSError) as error:
        bad = next((path for path in paths if path.name in str(error)), None) or _first_damaged(paths, column)
        raise damaged(bad, error) from error


def _first_damaged(paths: Sequence[Path], column: str) -> Path:
    for path in paths:
        try:
            read_part(path, [column])
        except StoreError:
            return path
    return paths[0]


class OpenPart:
    """A part that is being written to a temporary name, row group by row group, until it is committed."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Open the temporary file; raises StoreError where that cannot be done."""
        self._path = path
        self._temporary = path.with_name(f".{path.name}{_TEMPORARY}{os.getpid()}")
        self._rows = 0
        names = [name for name in schema.names if not is_vector_column(name)]
        with self._explained():
            self._file = self._temporary.open("wb")
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
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if pq.read_metadata(self._temporary).num_rows != self._rows:
                raise StoreError(f"{self._temporary} did not read back whole. Is the disk failing?")
            if self._path.exists() and not replace:
                raise StoreError(
                    f"{self._path} appeared while it was being written: is another process writing to "
                    f"{self._path.parent}?"
                )
            self._temporary.replace(self._path)
            _flush_folder(self._path.parent)

    def discard(self) -> None:
        """Remove the temporary file."""
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise StoreError(
                f"Cannot write {self._path}: {error.strerror or error}. Committed parts are intact; free some space "
                "and run the same command again."
            ) from error
        except BaseException:
            self.discard()
            raise


def write_part(table: pa.Table, path: Path, *, replace: bool = False) -> None:
    """Commit a whole part at once.

    Raises:
        StoreError: the disk is full or the folder cannot be written to; nothing is left behind.
    """
    part = OpenPart(path, table.schema)
    for start in range(0, max(1, table.num_rows), ROW_GROUP):
        part.write(table.slice(start, ROW_GROUP))
    part.commit(replace=replace)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed run left half-written; only call it while holding the store's lock."""
    for path in folder.glob(f".part-*.parquet{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
