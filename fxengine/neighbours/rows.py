"""The rows of a store that have a vector: what can be found."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import StoreError
from fxengine.features.read import FeatureStore
from fxengine.features.schema import KEPT_TEXT
from fxengine.neighbours.metric import check

_COLUMNS = ["row", "id", "label", "split", "size", "width", "height", "content_hash", "error_code"]


def searchable_rows(store: FeatureStore) -> pa.Table:
    """Return the small columns of the rows that have a vector, in the store's order; at the end its column groups', but
    for kept texts.
    """
    further = [column.name for column in store.provenance.further if column.name != KEPT_TEXT]
    rows = store.rows([*_COLUMNS, *further])
    return rows.filter(pc.is_null(rows["error_code"])).drop(["error_code"]).combine_chunks()


def check_searchable(store: FeatureStore, metric: str, layer: str | None) -> None:
    """Check that a store can be asked for neighbours.

    Raises:
        StoreError: the store has no vector or no such layer.
        InputError: there is no such metric.
    """
    store.provenance.column(layer)
    check(metric)
    if not store.ids():
        raise StoreError(f"No row of {store.called} has a vector: there is nothing to search.")
