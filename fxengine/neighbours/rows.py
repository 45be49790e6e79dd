"""The rows of a store that have a vector: what can be found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import StoreError
from fxengine.features.read import FeatureStore
from fxengine.features.schema import KEPT_TEXT
from fxengine.neighbours.metric import check

_IN_MEMORY = 2**26  # bytes of vectors that are simply read
_COLUMNS = ["row", "id", "label", "split", "size", "width", "height", "content_hash", "error_code"]


def searchable_rows(store: FeatureStore) -> pa.Table:
    """Return the small columns of the rows that have a vector, in the store's order; at the end its column groups', but
    for kept texts.
    """
    further = [column.name for column in store.provenance.further if column.name != KEPT_TEXT]
    rows = store.rows([*_COLUMNS, *further])
    return rows.filter(pc.is_null(rows["error_code"])).drop(["error_code"]).combine_chunks()


def is_large(store: FeatureStore, rows: int, layer: str | None) -> bool:
    """Tell whether so many of a store's vectors are mapped from a copy in the cache, and not simply read."""
    made = store.provenance
    return rows * made.dim_of(layer) * np.dtype(made.dtype).itemsize > _IN_MEMORY


def row_reader(
    store: FeatureStore, table: pa.Table, layer: str | None, *, often: bool = True
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives the raw vectors, [k, dim], at places in `table`, int64 [k], as `searchable_rows` returned it.

    Of a store that is not small they come out of the copy in the cache, where there is room for it and they are read
    `often`; else out of the parts that have them. Memory does not grow with the store.
    """
    whole = store.whole
    if often and not is_large(store, len(table), layer):
        matrix = store.vectors(layer=layer)
        return lambda places: matrix[places]
    mapped = whole.mapped(layer) if often else None
    if mapped is None:
        return lambda places: store.select(ids=table["id"].take(pa.array(places)).to_pylist()).vectors(layer=layer)
    if not store.is_selection:
        return lambda places: mapped[places]
    rows = np.asarray(pc.index_in(table["row"], searchable_rows(whole)["row"].combine_chunks()))
    return lambda places: mapped[rows[places]]


def check_searchable(store: FeatureStore, metric: str, layer: str | None) -> None:
    """Check that a store can be asked for neighbours.

    Raises:
        StoreError: the store has no vector or no such layer.
        InputError: there is no such metric.
    """
    store.provenance.column(layer)
    check(metric)
    if not store.has_vectors:
        raise StoreError(f"No row of {store.called} has a vector: there is nothing to search.")
