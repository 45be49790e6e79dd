"""What the page says of the store as a whole."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from fxengine.backbones.pair import find_pair
from fxengine.collect.item import unescape_path
from fxengine.serving.opened import Opened
from fxengine.serving.route import Asked, Route

_NAMES = 1000  # labels that are offered


def about(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return what is served: its rows, labels and splits, and what it can be asked with."""
    made, head = opened.store.provenance, opened.head
    texts = made.modality == "text"
    return {
        "store": str(opened.store.path),
        "root": unescape_path(made.root),
        "modality": made.modality,
        "rows": len(opened.rows),
        "vectors": len(opened.searchable),
        "dim": made.dim_of(opened.layer),
        "source": made.source,
        "labels": _counts(opened, "label"),
        "splits": _counts(opened, "split"),
        "columns": opened.table.column_names,
        "words": texts or find_pair(made.space) is not None,
        "pictures": not texts or find_pair(made.space) is not None,
        "head": None if head is None else {"classes": head.facts.classes, "predicts": head.facts.predicts},
        "reports": [path.name for path in opened.reports],
    }


def _counts(opened: Opened, column: str) -> list[dict[str, Any]]:
    """Return each value of a column and how many rows have it, the most frequent first."""
    found = pc.value_counts(opened.table[column].combine_chunks().drop_null()).to_pylist()
    found.sort(key=lambda each: (-each["counts"], each["values"]))
    return [{"name": each["values"], "rows": each["counts"]} for each in found[:_NAMES]]


ROUTES = (Route("GET", "/api/about", about),)
