"""Reads a store: one table out of all its parts, rows sorted by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import StoreError
from fxengine.features import parts
from fxengine.features.schema import FEATURE, FeatureTable, Provenance

_SMALL = ["row", "id", "label", "split", "size", "mtime_ns", "content_hash", "width", "height", "error_code", "error"]


@dataclass(frozen=True)
class FeatureStore:
    """A folder of Parquet parts, opened for reading.

    Every method that returns rows returns them sorted by id (bytewise), whatever the parts' order. The small
    columns are read once and kept; vectors are read when they are asked for.

    Attributes:
        path: the folder.
        provenance: what the first part was made with.
        precisions: every precision that its parts were computed in.
    """

    path: Path
    provenance: Provenance
    precisions: tuple[str, ...]
    _parts: tuple[Path, ...]

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Open a store.

        Raises:
            StoreError: the folder has no part, a part is damaged or foreign, or the parts do not belong together.
        """
        folder = Path(path)
        found = parts.list_parts(folder) if folder.is_dir() else []
        if not found:
            raise StoreError(f"{folder} is no feature store: it has no part-*.parquet. `fxengine extract` makes one.")
        all_provenance = [parts.read_provenance(part) for part in found]
        first = all_provenance[0]
        for part, other in zip(found, all_provenance, strict=True):
            if (other.space, other.dtype, other.dim) != (first.space, first.dtype, first.dim):
                raise StoreError(
                    f"{part.name} is of another feature space than {found[0].name}: two stores are mixed in {folder}."
                )
        precisions = tuple(sorted({p.precision for p in all_provenance}))
        return cls(folder, first, precisions, tuple(found))

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}: {len(self)} rows, {self.provenance.dtype} x {self.provenance.dim})"

    @cached_property
    def _rows(self) -> pa.Table:
        """Small columns of all parts and the place of each row's vector, sorted by id; no rename's older half."""
        tables = []
        for number, path in enumerate(self._parts):
            table = parts.read_part(path, _SMALL).replace_schema_metadata()
            table = table.append_column("part", pa.array(np.full(len(table), number, np.int32)))
            tables.append(table.append_column("at", pa.array(np.arange(len(table), dtype=np.int64))))
        table = pa.concat_tables(tables).combine_chunks()
        rows, part = np.asarray(table["row"]), np.asarray(table["part"])
        order = np.lexsort((part, rows))
        keep = np.ones(len(table), bool)
        keep[order[:-1][rows[order[:-1]] == rows[order[1:]]]] = False
        if not keep.all():
            table = table.filter(pa.array(keep))
        return table.take(pc.sort_indices(table, [("id", "ascending")])).combine_chunks()

    @cached_property
    def _fine(self) -> pa.Table:
        return self._rows.filter(pc.is_null(self._rows["error_code"]))

    def ids(self) -> list[str]:
        """Return the ids of the rows that have a vector."""
        ids: list[str] = self._fine["id"].to_pylist()
        return ids

    def labels(self) -> list[str | None]:
        """Return the labels of the rows that have a vector, None where unknown."""
        labels: list[str | None] = self._fine["label"].to_pylist()
        return labels

    def vectors(self) -> np.ndarray:
        """Return the vectors, [n, dim] in the store's type, of the rows that have one."""
        fine = self._fine
        out = np.empty((len(fine), self.provenance.dim), self.provenance.dtype)
        part, at = np.asarray(fine["part"]), np.asarray(fine["at"])
        for number, path in enumerate(self._parts):
            mine = np.flatnonzero(part == number)
            if len(mine):
                _copy_vectors(parts.read_part(path, [FEATURE])[FEATURE], at[mine], mine, out)
        return out

    def table(self) -> FeatureTable:
        """Return the rows that have a vector, all in memory."""
        fine = self._fine
        return FeatureTable(
            rows=np.asarray(fine["row"]),
            keys=self.ids(),
            vectors=self.vectors(),
            labels=self.labels(),
            splits=fine["split"].to_pylist(),
        )

    def batches(self, rows: int = 65_536) -> Iterator[FeatureTable]:
        """Yield the rows that have a vector in tables of at most `rows` rows, reading one part at a time.

        The order is that of the parts, and by id inside each.
        """
        fine = self._fine
        part = np.asarray(fine["part"])
        for number, path in enumerate(self._parts):
            mine = fine.take(pa.array(np.flatnonzero(part == number)))
            if not len(mine):
                continue
            column = parts.read_part(path, [FEATURE])[FEATURE]
            for start in range(0, len(mine), rows):
                chunk = mine.slice(start, rows)
                out = np.empty((len(chunk), self.provenance.dim), self.provenance.dtype)
                _copy_vectors(column, np.asarray(chunk["at"]), np.arange(len(chunk)), out)
                yield FeatureTable(
                    rows=np.asarray(chunk["row"]),
                    keys=chunk["id"].to_pylist(),
                    vectors=out,
                    labels=chunk["label"].to_pylist(),
                    splits=chunk["split"].to_pylist(),
                )

    def errors(self) -> list[dict[str, str]]:
        """Return id, error_code and error of every row that has no vector."""
        failed = self._rows.filter(pc.is_valid(self._rows["error_code"]))
        found: list[dict[str, str]] = failed.select(["id", "error_code", "error"]).to_pylist()
        return found

    def error_counts(self) -> dict[str, int]:
        """Return how many rows failed for each reason, the most frequent first."""
        return dict(Counter(error["error_code"] for error in self.errors()).most_common())

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return every row, failed ones too, without vectors, as an Arrow table."""
        return self._rows.select(list(columns or _SMALL))


def _copy_vectors(column: pa.ChunkedArray, source: np.ndarray, target: np.ndarray, out: np.ndarray) -> None:
    """Copy rows `source` of a part's vector column to rows `target` of `out`."""
    start = 0
    for chunk in column.chunks:
        inside = (source >= start) & (source < start + len(chunk))
        if inside.any():
            out[target[inside]] = parts.vector_matrix(chunk)[source[inside] - start]
        start += len(chunk)
