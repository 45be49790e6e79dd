"""Finds the stored pictures that are nearest to a query picture."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.index.flat import FlatIndex
from fxengine.tasks.embed import Backbone


@dataclass(frozen=True)
class Neighbour:
    """One answer: id of a stored picture, its label and its cosine to the query."""

    id: str
    label: str | None
    score: float


@dataclass(frozen=True)
class SearchReport:
    """The neighbours of one query.

    Attributes:
        query: the picture asked for.
        neighbours: the nearest first.
        rows: rows that were searched.
        open_ms: reading the store and building the index, in milliseconds.
        load_ms: loading the backbone.
        first_ms: the first query, embedding and search.
        warm_ms: the same query again.
    """

    query: str
    neighbours: list[Neighbour]
    rows: int
    open_ms: float
    load_ms: float
    first_ms: float
    warm_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)


def search(
    store: str | Path,
    query: str | Path,
    k: int = 10,
    *,
    backbone: str | Path | None = None,
    device: str = "auto",
    layer: str | None = None,
) -> SearchReport:
    """Return the k stored pictures nearest to `query` by cosine, exactly.

    Args:
        store: folder of a feature store.
        query: a picture.
        k: neighbours; fewer where the store has fewer rows.
        backbone: only where neither the cache nor a fresh export gives the store's space.
        device: "auto", "cpu", "cuda" or "tensorrt".
        layer: a further layer's name; the default one unless given.

    Raises:
        InputError: k is not positive, or the backbone of the store's space is not to be had.
        DecodeError: the query cannot be decoded.
        StoreError: the store is damaged or has no vectors.
    """
    if k < 1:
        raise InputError(f"-k must be at least 1. Got {k}.")
    times = [time.perf_counter()]
    opened = FeatureStore.open(store)
    ids = opened.ids()
    index = FlatIndex(ids, opened.vectors(layer=layer))
    times.append(time.perf_counter())
    net = Backbone.for_space(opened.provenance.space, opened.provenance.source, backbone, device)
    times.append(time.perf_counter())
    for _ in range(2):
        result = index.search(net.embed([query], layer=layer), k)
        times.append(time.perf_counter())
    labels = dict(zip(ids, opened.labels(), strict=True))
    found = [
        Neighbour(key, labels[key], float(score)) for key, score in zip(result.ids[0], result.scores[0], strict=True)
    ]
    spans = [round(1000 * (b - a), 2) for a, b in pairwise(times)]
    return SearchReport(str(query), found, len(index), *spans)
