"""A store's vectors in blocks, as heads and PCA read them: again and again, never all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import StoreError
from fxengine.features.read import FeatureStore
from fxengine.features.schema import FeatureTable
from fxengine.float16 import widen
from fxengine.heads.statistics import Block, Blocks

_ROWS = 4096


def store_rows(store: FeatureStore) -> pa.Table:
    """Return row, id, label, split and content_hash of the rows that have a vector, sorted by id."""
    table = store.rows(["row", "id", "label", "split", "content_hash", "error_code"])
    table = table.filter(pc.is_null(table["error_code"])).drop_columns(["error_code"])
    ids = store.ids()
    return table if len(ids) == len(table) else table.filter(pc.is_in(table["id"], pa.array(ids, pa.string())))


def store_blocks(store: FeatureStore, rows: np.ndarray, *, layer: str | None = None, unit: bool = False) -> Blocks:
    """Return the blocks of these rows, in the order of the store's parts.

    Args:
        store: the store.
        rows: permanent numbers of the rows, int64 [n]; a block's `at` is a row's place in it.
        layer: a further layer's name; the default one unless given.
        unit: whether to scale every vector to length 1.

    Raises:
        StoreError (while reading): a vector has a value that is not finite.
    """
    order = np.argsort(rows)
    ordered = rows[order]

    def read() -> Iterator[Block]:
        for table in store.batches(_ROWS, layer=layer):
            place = np.minimum(np.searchsorted(ordered, table.rows), len(rows) - 1)
            mine = np.flatnonzero(ordered[place] == table.rows)
            if not len(mine):
                continue
            x = widen(table.vectors if len(mine) == len(table.vectors) else table.vectors[mine])
            squares = np.einsum("ij,ij->i", x, x)
            if not np.isfinite(squares).all():
                check_finite(x, table, mine, store)
            if unit:
                x /= np.maximum(np.sqrt(squares), 1e-12)[:, None]
            yield Block(x, order[place[mine]])

    return read


def check_finite(x: np.ndarray, table: FeatureTable, rows: np.ndarray, store: FeatureStore) -> None:
    """Raise StoreError, naming the first row, where a vector has a value that is not finite."""
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise StoreError(
            f"The vector of {table.keys[rows[bad[0]]]!r} has values that are not finite ({len(bad)} such rows in one "
            f"block). `fxengine verify {store.path} --repair` computes bad parts again."
        )


def matrix_blocks(x: np.ndarray) -> Blocks:
    """Return the blocks of rows in memory, float32 [n, dim], scaled to length 1."""

    def read() -> Iterator[Block]:
        for start in range(0, len(x), _ROWS):
            rows = x[start : start + _ROWS]
            length = np.maximum(np.sqrt(np.einsum("ij,ij->i", rows, rows)), 1e-12)
            yield Block(rows / length[:, None], np.arange(start, start + len(rows)))

    return read


def as_matrix(blocks: Blocks, n: int, dim: int) -> np.ndarray:
    """Return all rows as float32 [n, dim], in the order of their places."""
    matrix = np.empty((n, dim), np.float32)
    for x, at in blocks():
        matrix[at] = x
    return matrix
