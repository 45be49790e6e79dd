"""What the page says of the store as a whole."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyarrow.compute as pc

from fxengine.backbones import load_for_space
from fxengine.backbones.pair import find_pair, pair_of
from fxengine.collect.item import unescape_path
from fxengine.errors import InputError
from fxengine.serving.opened import Opened
from fxengine.serving.route import Asked, Route

_NAMES = 1000  # labels that are offered


def about(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return what is served: its rows, labels and splits, and what it can be asked with."""
    made, head = opened.store.provenance, opened.head
    texts, paired = made.modality == "text", opened.once("has pair", lambda: _has_pair(opened))
    return {
        "store": opened.store.called,
        "root": unescape_path(made.root),
        "modality": made.modality,
        "rows": len(opened.rows),
        "vectors": len(opened.searchable),
        "dim": made.dim_of(opened.layer),
        "source": made.source,
        "labels": _counts(opened, "label"),
        "splits": _counts(opened, "split"),
        "columns": opened.table.column_names,
        "words": texts or paired,
        "pictures": not texts or paired,
        "head": None if head is None else {"classes": head.facts.classes, "predicts": head.facts.predicts},
        "reports": [path.name for path in opened.reports],
    }


def _has_pair(opened: Opened) -> bool:
    """Tell whether the store's net is a tower of a pair, as the cache notes or the file says that was named."""
    space = opened.store.provenance.space
    pair = find_pair(space)
    if pair is None and opened.backbone is not None:
        with suppress(InputError):  # said by who searches
            pair = pair_of(load_for_space(opened.backbone, space))
    return pair is not None and space in (pair.picture, pair.text)


def _counts(opened: Opened, column: str) -> list[dict[str, Any]]:
    """Return each value of a column and how many rows have it, the most frequent first."""
    found = pc.value_counts(opened.table[column].combine_chunks().drop_null()).to_pylist()
    found.sort(key=lambda each: (-each["counts"], each["values"]))
    return [{"name": each["values"], "rows": each["counts"]} for each in found[:_NAMES]]


ROUTES = (Route("GET", "/api/about", about),)
