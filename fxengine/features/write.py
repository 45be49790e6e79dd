"""Writes a store: new parts, and parts rewritten in place."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import StoreError, explained
from fxengine.features import parts
from fxengine.features.part_rows import PartRows
from fxengine.features.parts import Row, Vectors
from fxengine.features.row_numbers import note_next_row, noted_next_row
from fxengine.features.schema import MOST_ROWS, Provenance, united_groups
from fxengine.storage import Found, shown
from fxengine.store_files import state

PART_ROWS = 8192


class PartWriter:
    """Commits rows as new parts of at most `part_rows` rows; holds one row group of them in memory.

    Attributes:
        part: the part that the next row goes to.
    """

    def __init__(
        self,
        folder: Path,
        provenance: Provenance,
        next_row: int,
        part_rows: int = PART_ROWS,
        first_part: int | None = None,
    ) -> None:
        """Begin with no row.

        Args:
            folder: the store.
            provenance: what its rows are made with.
            next_row: the first number that was never given.
            part_rows: of a part at most.
            first_part: number of the first new part, by who has listed those that there are; else the next one now.
        """
        self.folder = folder
        self.provenance = provenance
        self.next_row = max(next_row, noted_next_row(folder))
        if self.next_row > MOST_ROWS - 2**32:
            raise StoreError(
                f"{shown(folder)} has row numbers up to {self.next_row - 1}: there are none left. Use a new folder."
            )
        note_next_row(folder, self.next_row)
        self.part_rows = min(part_rows, provenance.part_rows)
        self._number = parts.next_part_number(parts.list_parts(folder)) if first_part is None else first_part
        self.part = parts.part_path(folder, self._number)
        self._group = min(self.part_rows, parts.group_rows(provenance))
        self._rows: PartRows | None = None

    def append(self, row: Row, vectors: Vectors | None) -> None:
        """Add a row; commits a part when it is full."""
        self.extend([row], {name: vector[None] for name, vector in (vectors or {}).items()})

    def extend(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Add rows with the vectors of the first of them, [n, dim]; commits a part when it is full."""
        begin = 0
        while begin < len(rows):
            if self._rows is None:
                self._rows = PartRows(self.part, self.provenance, self._group)
            taken = rows[begin : begin + self.part_rows - self._rows.rows]
            end = begin + len(taken)
            self._rows.extend(taken, {name: matrix[begin:end] for name, matrix in vectors.items()})
            self.next_row = max(self.next_row, 1 + max(row.row for row in taken))
            if self._rows.rows == self.part_rows:
                self.commit()
            begin = end

    def commit(self) -> None:
        """Commit what was collected since the last part, if anything."""
        if self._rows is not None:
            rows, self._rows = self._rows, None
            rows.finished().commit()
            self._number += 1
            self.part = parts.part_path(self.folder, self._number)
            # Not before: a run that is killed in between would leave numbers out. The next run notes them, too.
            note_next_row(self.folder, self.next_row)


def rewrite_part(
    path: Path,
    provenance: Provenance,
    *,
    again: Mapping[int, tuple[Row, Vectors | None]] | None = None,
    relabel: Mapping[int, tuple[str | None, str | None]] | None = None,
    drop: Collection[int] = (),
    read: Found | None = None,
) -> None:
    """Replace a part by one in which some rows are new, others have another label, others are gone.

    The part keeps its column groups; where new rows bring a further one, the rows that stay are null in it.

    Args:
        path: the part.
        provenance: what the part's new rows were made with; its `next_row` is kept at the larger of both.
        again: row number -> its new content.
        relabel: row number -> (label, split).
        drop: row numbers to leave out; a part that loses all its rows stays, empty, for its `next_row`.
        read: the state that the part must still have, as `store_files.states` gives it; that of now unless given.

    Raises:
        StoreError: the part is damaged or cannot be written, or another process has written it since.
    """
    with explained(f"{shown(path)} cannot be read", kind=StoreError):
        read = read or state(path)
    table = parts.read_part(path)
    old = Provenance.from_schema(table.schema, path.name)
    if relabel:
        table = _relabel(table, relabel)
    next_row = max(old.next_row, provenance.next_row)
    if again or drop:
        rows = np.asarray(table["row"])
        keep = ~np.isin(rows, np.fromiter([*(again or {}), *drop], np.int64))
        next_row = max(next_row, int(rows.max(initial=-1)) + 1)
        table = table.filter(pa.array(keep))
    # The part goes on saying what most of its rows were made with; a second precision is named beside the first.
    merged = replace(old, next_row=next_row)
    if again:
        precisions = {*old.precision.split("+"), *provenance.precision.split("+")}
        limits, groups = _wider(old.limits, provenance.limits), united_groups((old, provenance))
        merged = replace(merged, precision="+".join(sorted(precisions)), limits=limits, groups=groups)
    table = table.replace_schema_metadata(merged.to_metadata())
    if again:
        vectors = {name: np.zeros((len(again), dim), merged.dtype) for name, dim in merged.columns.items()}
        for i, (_, found) in enumerate(again.values()):
            for name, vector in (found or {}).items():
                vectors[name][i] = vector
        fresh = parts.part_table([row for row, _ in again.values()], vectors, merged)
        table = pa.concat_tables([table, fresh], promote_options="default").select(fresh.column_names)
        table = table.take(pc.sort_indices(table, [("id", "ascending")]))
    parts.write_part(table.combine_chunks(), path, replace=True, read=read)


def _wider(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Return the limits that rows of both were taken in with; none where those of one are not known."""
    return {name: max(old[name], new[name]) for name in old.keys() & new.keys()}


def _relabel(table: pa.Table, relabel: Mapping[int, tuple[str | None, str | None]]) -> pa.Table:
    rows = table["row"].to_pylist()
    for position, name in enumerate(("label", "split")):
        old = table[name].to_pylist()
        values = [relabel[row][position] if row in relabel else value for row, value in zip(rows, old, strict=True)]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return table


def check_fits(existing: Provenance, wanted: Provenance, folder: Path, *, allow_mixed_precision: bool = False) -> None:
    """Raise StoreError where rows made with `wanted` do not belong beside those made with `existing`."""
    store = shown(folder)
    if existing.space != wanted.space:
        if existing.source == wanted.source:
            raise StoreError(
                f"{store} holds features of another space: {existing.source!r} gave {existing.space[:12]} when they "
                f"were made and gives {wanted.space[:12]} now. Give it as it was then, or another folder as `output`."
            )
        from fxengine.backbones.pair import why_apart  # which loads ONNX

        raise StoreError(
            f"{store} holds features of another space: {existing.source!r} ({existing.space[:12]}), asked for "
            f"{wanted.source!r} ({wanted.space[:12]}). Give that backbone, or another folder as `output`."
            f"{why_apart(existing.space, wanted.space)}"
        )
    if existing.of_words != wanted.of_words:
        raise StoreError(
            f"{store} {'holds the words' if existing.of_words else 'holds no words, but what was computed'} of "
            f"{existing.root}: use another folder as `output`."
        )
    if existing.root != wanted.root:
        raise StoreError(
            f"{store} was made from {existing.root}, asked for {wanted.root}. "
            "Give that one, or another folder as `output`."
        )
    if existing.dtype != wanted.dtype:
        raise StoreError(
            f"{store} stores {existing.dtype}, asked for {wanted.dtype}. Leave `dtype` away, or use another `output`."
        )
    if existing.columns != wanted.columns:
        raise StoreError(
            f"{store} holds vectors of {existing.columns} numbers, this backbone gives {wanted.columns}. "
            "Use another folder as `output`."
        )
    if existing.precision != wanted.precision and not allow_mixed_precision:
        raise StoreError(
            f"{store} was computed in {existing.precision}, this run computes in {wanted.precision}. "
            f"Use `precision` {existing.precision}, or allow both with `allow_mixed_precision`."
        )
    _check_texts(existing, wanted, store, allow_mixed_precision)


def _check_texts(existing: Provenance, wanted: Provenance, store: str, allow_mixed_precision: bool) -> None:
    """Raise StoreError where texts are of another column, or their vectors would differ in the last bits."""
    for what in ("text", "id"):
        was, now = existing.read_columns.get(what), wanted.read_columns.get(what)
        if existing.read_columns and wanted.read_columns and was != now:
            raise StoreError(
                f"{store} has its {what}s from {_column(was)} of {existing.root}, asked for {_column(now)}. Give that "
                "one, or another folder as `output`."
            )
    if not wanted.run or allow_mixed_precision:
        return
    if existing.provider != wanted.provider:
        raise StoreError(
            f"{store} was computed by {existing.provider}, this run computes by {wanted.provider}. Give its `device`, "
            "or allow both with `allow_mixed_precision`."
        )
    if existing.run != wanted.run:
        raise StoreError(
            f"{store} was computed in runs of {existing.run.get('tokens')} tokens, this run takes "
            f"{wanted.run.get('tokens')}. Leave `batch_size` away, or allow both with `allow_mixed_precision`."
        )


def _column(name: str | None) -> str:
    return "no column" if name is None else f"the column {name!r}"


def to_store_type(outputs: Mapping[str, np.ndarray], dtype: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return float32 [n, dim] arrays in the store's type, and which rows are not finite in any of them, bool [n]."""
    with np.errstate(over="ignore"):
        stored = {name: values.astype(dtype) for name, values in outputs.items()}
    finite = [np.isfinite(values).all(axis=1) for values in stored.values()]
    return stored, ~np.logical_and.reduce(finite) if finite else np.zeros(0, bool)


def bad_feature(vector: np.ndarray, dtype: str) -> str:
    """Return why a vector, float32 [dim], has no place in the store: the error of a row of the code `bad_feature`."""
    if np.isfinite(vector).all():
        return f"A value of {np.abs(vector).max():.3g} is too large for {dtype}. Extract with `dtype` float32."
    return "The net gave a value that is not a finite number."
