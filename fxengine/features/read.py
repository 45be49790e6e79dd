"""Reads a store: one table out of all its parts, rows sorted by id."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.cache import kind_folder, tell
from fxengine.errors import StoreError
from fxengine.features import parts
from fxengine.features.columns import Pieces, counting, fill, put, read_column, room_for
from fxengine.features.float16 import retyped
from fxengine.features.mapped import (
    KIND,
    Matrix,
    matrix_name,
    open_matrix,
    read_blocks,
    store_stamp,
    write_matrix,
)
from fxengine.features.row_numbers import older_halves
from fxengine.features.schema import (
    KEPT_GROUP,
    KEPT_TEXT,
    FeatureTable,
    Provenance,
    is_vector_column,
    part_schema,
    united_groups,
    widest_limits,
)
from fxengine.features.unit import unit_length
from fxengine.storage import is_remote, shown
from fxengine.store_files import SMALL_AT_ONCE, WHOLE_AT_ONCE, each, place_of


def _untold(_: int) -> None:
    pass


@dataclass(frozen=True)
class FeatureStore:
    """A folder of Parquet parts, on a disk or in a bucket, opened for reading.

    Every method that returns rows returns them sorted by id (bytewise), whatever the parts' order. Small columns are
    read once and kept; vectors when they are asked for, those of a bucket through a copy in the cache.

    Attributes:
        path: the folder; of "s3://bucket/features" it is "s3:/bucket/features".
        provenance: what the first part was made with, and of all parts the widest limits and every column group.
        precisions: every precision that its parts were computed in.
    """

    path: Path
    provenance: Provenance
    precisions: tuple[str, ...]
    _parts: tuple[Path, ...]
    _stamp: str
    _selection: pa.Table | None = None
    _whole: FeatureStore | None = field(default=None, compare=False)  # of a selection, with what it has read

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Open a store, in a folder or below "s3://", "gs://" or "az://".

        Raises:
            StoreError: the folder has no part, a part is damaged or foreign, the parts do not belong together, or a
                bucket is not there, refuses, or does not answer.
            InputError: it is no path, or what is needed for buckets is not installed.
        """
        folder = place_of("store", path)
        called = shown(folder)
        found = parts.list_parts(folder) if is_remote(folder) or folder.is_dir() else []
        with parts.unlisted(folder):
            made_of = store_stamp(found)
        if not found:
            raise StoreError(f"{called} is no feature store: it has no part-*.parquet. `fxengine extract` makes one.")
        all_provenance = [*each(parts.read_provenance, found)]
        first = all_provenance[0]
        for part, other in zip(found, all_provenance, strict=True):
            if (other.space, other.dtype, other.columns) != (first.space, first.dtype, first.columns):
                raise StoreError(
                    f"{part.name} is of another feature space than {found[0].name}: two stores are mixed in {called}."
                )
        precisions = tuple(sorted({p.precision for p in all_provenance}))
        first = replace(first, limits=widest_limits(all_provenance), groups=united_groups(all_provenance))
        return cls(folder, first, precisions, tuple(found), made_of)

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        return f"FeatureStore({self.called!r}: {len(self)} rows, {self.provenance.dtype} x {self.provenance.dim})"

    @property
    def called(self) -> str:
        """Where it is, as people write it."""
        return shown(self.path)

    @property
    def place(self) -> str:
        """Where it is, wherever one stands."""
        return self.called if is_remote(self.path) else str(self.path.absolute())

    @property
    def groups(self) -> tuple[str, ...]:
        """The column groups that a part has; rows of a part that has not are null in their columns."""
        return tuple(self.provenance.groups)

    @property
    def is_selection(self) -> bool:
        """Whether this is a view with fewer rows, as `select` returns."""
        return self._selection is not None

    @property
    def whole(self) -> FeatureStore:
        """This store without the selection."""
        return self if self._whole is None else self._whole

    @cached_property
    def _small(self) -> list[str]:
        """The columns but for vectors and kept texts, which may be as large."""
        names = part_schema(self.provenance).names
        return [name for name in names if not is_vector_column(name) and name != KEPT_TEXT]

    @cached_property
    def _rows(self) -> pa.Table:
        """Small columns of all parts and the place of each row's vector, sorted by id; no rename's older half."""
        self._check_unchanged()
        tables = []
        for number, small in enumerate(self._tables(self._small, SMALL_AT_ONCE)):
            table = small.replace_schema_metadata()
            table = table.append_column("part", pa.array(np.full(len(table), number, np.int32)))
            tables.append(table.append_column("at", pa.array(np.arange(len(table), dtype=np.int64))))
        table = pa.concat_tables(tables).combine_chunks()
        rows, part = np.asarray(table["row"]), np.asarray(table["part"])
        keep = np.ones(len(table), bool)
        keep[older_halves(rows, part, self._parts)] = False
        if not keep.all():
            table = table.filter(pa.array(keep))
        return table.take(pc.sort_indices(table, [("id", "ascending")])).combine_chunks()

    def _tables(self, columns: list[str], at_once: int, some: Sequence[Path] | None = None) -> Iterator[pa.Table]:
        """Yield columns of the parts, or of some of them, a part at a time."""
        return each(lambda path: parts.read_part(path, columns), self._parts if some is None else some, at_once)

    @property
    def _view(self) -> pa.Table:
        """The rows of this store or, of a selection, of that alone; sorted by id unless ids were selected."""
        return self._rows if self._selection is None else self._selection

    @cached_property
    def _fine(self) -> pa.Table:
        return self._view if self.is_selection else self._rows.filter(pc.is_null(self._rows["error_code"]))

    def select(
        self, *, label: str | None = None, split: str | None = None, ids: Sequence[str] | None = None
    ) -> FeatureStore:
        """Return a view of this store with fewer rows; its ids, labels and vectors belong together as here.

        Args:
            label: only rows of this label.
            split: only rows of this split.
            ids: only these rows, in this order.

        Raises:
            StoreError: there is no such label, split or id with a vector; says what there is.
        """
        table = self._fine
        for name, value in (("label", label), ("split", split)):
            if value is not None:
                chosen = table.filter(pc.equal(table[name], value))
                if not len(chosen):
                    there = ", ".join(map(repr, sorted(set(table[name].drop_null().to_pylist()))[:10])) or "none"
                    raise StoreError(f"No row of {self.called} has the {name} {value!r}. There is: {there}.")
                table = chosen
        if ids is not None:
            positions = pc.index_in(pa.array(ids, pa.string()), table["id"].combine_chunks())
            unknown = [key for key, at in zip(ids, positions.to_pylist(), strict=True) if at is None]
            if unknown:
                raise StoreError(f"{self.called} has no vector for {unknown[0]!r} ({len(unknown)} such ids).")
            table = table.take(positions)
        return replace(self, _selection=table.combine_chunks(), _whole=self.whole)

    @property
    def has_vectors(self) -> bool:
        """Whether a row has a vector."""
        return len(self._fine) > 0

    def ids(self) -> list[str]:
        """Return the ids of the rows that have a vector."""
        ids: list[str] = self._fine["id"].to_pylist()
        return ids

    def labels(self) -> list[str | None]:
        """Return the labels of the rows that have a vector, None where unknown."""
        labels: list[str | None] = self._fine["label"].to_pylist()
        return labels

    def vectors(
        self,
        *,
        layer: str | None = None,
        normalize: bool = False,
        dtype: npt.DTypeLike | None = None,
        mmap: bool = False,
    ) -> np.ndarray:
        """Return the vectors, [n, dim], of the rows that have one.

        Args:
            layer: a further layer's name; the default one unless given.
            normalize: scale every vector to length 1 (in float32 unless `dtype` says otherwise); zero stays zero.
            dtype: the result's type; the store's own unless given.
            mmap: read through a copy in the cache that is mapped into memory: made by the first call, far faster from
                then on, as large as the vectors. The result is then read-only. Where the cache has no room for it, they
                are read into memory. Those of a store in a bucket always come through it.

        Raises:
            StoreError: there is no such layer, the store was rewritten since it was opened, or a part is damaged: a
                vector has another length or a value that is not finite; names part and id.
            InputError: `mmap`, and others own the cache or can write to it.
        """
        column = self.provenance.column(layer)
        out = self._mapped_selection(column) if mmap or is_remote(self.path) else None
        if out is not None and not mmap:
            out = np.array(out)
        if out is None:
            out = self._read_vectors(column)
        if normalize:
            out = retyped(out, dtype or np.float32)
            unit_length(out, out=out)
        return out if dtype is None or out.dtype == dtype else retyped(out, dtype)

    def _check_unchanged(self) -> None:
        """Raise StoreError where a part was rewritten: rows and vectors read apart would not belong together."""
        with parts.unlisted(self.path):
            now = store_stamp(self._parts)
        if now != self._stamp:
            raise StoreError(f"{self.called} was changed since it was opened: open it again.")

    def _read_vectors(self, column: str) -> np.ndarray:
        out = room_for((len(self._fine), self.provenance.columns[column]), self.provenance.dtype, self.path)
        for places, vectors in self._pieces(column):
            put(out, places, vectors)
        return out

    def _pieces(self, column: str) -> Pieces:
        part, at = np.asarray(self._fine["part"]), np.asarray(self._fine["at"])
        yield from read_column(self._parts, part, at, column)
        self._check_unchanged()

    def copy(self, layer: str | None = None, step: Callable[[int], object] = _untold) -> None:
        """Make the copy in the cache that `vectors(mmap=True)` reads, where it is not there and there is room for it.

        Args:
            layer: a further layer's name; the default one unless given.
            step: told how many vectors are in it.

        Raises:
            StoreError: as for `vectors`.
        """
        with suppress(OSError):
            self._mapped(self.provenance.column(layer), step)

    def _mapped(self, column: str, step: Callable[[int], object] = _untold) -> Matrix:
        """Return all vectors of the store out of the copy in the cache, which is made where it is not there.

        Raises OSError where there can be none; the reason is logged.
        """
        whole, dtype = self.whole, self.provenance.dtype
        self._check_unchanged()
        shape = (len(whole._fine), self.provenance.columns[column])
        try:
            path = kind_folder(KIND) / matrix_name(self.path, self._stamp, column)
            found = open_matrix(path, shape, dtype)
            if found is None:
                write_matrix(path, shape, dtype, counting(whole._pieces(column), step))
                found = open_matrix(path, shape, dtype)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "the copy is gone as soon as it is made", str(path))
        except OSError as error:
            tell(error)
            raise
        return found

    def mapped(self, layer: str | None = None) -> np.ndarray | None:
        """Return all vectors of the store, [n, dim], mapped from the copy in the cache; None where that has no room.

        Raises:
            StoreError, InputError: as for `vectors`.
        """
        with suppress(OSError):
            return self._mapped(self.provenance.column(layer)).values
        return None

    def _mapped_selection(self, column: str) -> np.ndarray | None:
        try:
            matrix = self._mapped(column).values
        except OSError:  # it has been logged
            return None
        if self._selection is None:
            return matrix
        chosen: np.ndarray = matrix[self._places(self._selection)]
        return chosen

    def _places(self, rows: pa.Table) -> np.ndarray:
        """Return where the vectors of some rows are among those of the whole store, int64 [n]."""
        return np.asarray(pc.index_in(rows["row"].combine_chunks(), self.whole._fine["row"].combine_chunks()))

    def table(self, layer: str | None = None) -> FeatureTable:
        """Return the rows that have a vector, all in memory."""
        fine = self._fine
        return FeatureTable(
            rows=np.asarray(fine["row"]),
            keys=self.ids(),
            vectors=self.vectors(layer=layer),
            labels=self.labels(),
            splits=fine["split"].to_pylist(),
        )

    def batches(self, rows: int = 65_536, layer: str | None = None) -> Iterator[FeatureTable]:
        """Yield the rows that have a vector in tables of at most `rows` rows, reading one part at a time.

        The order is that of the parts, and by id inside each.
        """
        fine = self._fine
        name = self.provenance.column(layer)
        part = np.asarray(fine["part"])
        numbers = np.unique(part).tolist()
        for number, fill_in in zip(numbers, self._fillers(name, numbers), strict=True):
            mine = fine.take(pa.array(np.flatnonzero(part == number)))
            self._check_unchanged()
            for start in range(0, len(mine), rows):
                chunk = mine.slice(start, rows)
                out = np.empty((len(chunk), self.provenance.columns[name]), self.provenance.dtype)
                fill_in(chunk, out)
                yield FeatureTable(
                    rows=np.asarray(chunk["row"]),
                    keys=chunk["id"].to_pylist(),
                    vectors=out,
                    labels=chunk["label"].to_pylist(),
                    splits=chunk["split"].to_pylist(),
                )

    def _fillers(self, column: str, numbers: list[int]) -> Iterator[Callable[[pa.Table, np.ndarray], object]]:
        """Yield, for each of some parts, what puts the vectors of rows of that part into a matrix."""
        if is_remote(self.path):
            with suppress(OSError):  # there is no room for the copy
                matrix = self._mapped(column).values
                return repeat(lambda rows, out: np.take(matrix, self._places(rows), axis=0, out=out), len(numbers))
        tables = self._tables([column], WHOLE_AT_ONCE, [self._parts[number] for number in numbers])
        return (partial(fill, table[column]) for table in tables)

    def matrix_blocks(self, rows: int, layer: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return (row numbers, int64 [n]; vectors, [n, dim]) of all rows that have a vector, at most `rows` at a time.

        They come out of the copy in the cache that `vectors(mmap=True)` makes, for those who read a store many times.
        It is read, not mapped, so that memory does not grow with the store; the memory of the vectors serves again for
        those that come next.

        Raises:
            StoreError: there is no such layer, the store was rewritten since it was opened, or (while reading) the copy
                is not whole any more.
            OSError: the copy cannot be written.
        """
        matrix = self._mapped(self.provenance.column(layer))
        numbers = np.asarray(self.whole._fine["row"])
        found = (numbers[start : start + rows] for start in range(0, len(numbers), rows))
        return zip(found, read_blocks(matrix, rows), strict=True)

    def errors(self) -> list[dict[str, str]]:
        """Return id, error_code and error of every row that has no vector."""
        failed = self._view.filter(pc.is_valid(self._view["error_code"]))
        found: list[dict[str, str]] = failed.select(["id", "error_code", "error"]).to_pylist()
        return found

    def error_counts(self) -> dict[str, int]:
        """Return how many rows failed for each reason, the most frequent first."""
        return dict(Counter(error["error_code"] for error in self.errors()).most_common())

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return every row, failed ones too, without vectors, as an Arrow table; of a selection, its rows.

        Args:
            columns: which, in this order; all unless given, those of the store's column groups at the end, but for
                kept texts, which take memory and are read where they are asked for.

        Raises:
            StoreError: a part is damaged, or two parts hold one row number with different contents.
        """
        names, table = list(columns or self._small), self._view
        if KEPT_TEXT in names and KEPT_GROUP in self.groups:
            table = table.append_column(KEPT_TEXT, self._kept_texts())
        return table.select(names)

    def _kept_texts(self) -> pa.ChunkedArray:
        """Return the texts that the store keeps, in the order of `rows`."""
        columns = [table.column(KEPT_TEXT) for table in self._tables([KEPT_TEXT], WHOLE_AT_ONCE)]
        starts = np.cumsum([0, *map(len, columns)])
        places = starts[np.asarray(self._view["part"])] + np.asarray(self._view["at"])
        chunks = [chunk for column in columns for chunk in column.chunks]
        return pa.chunked_array(chunks, pa.string()).take(pa.array(places))
