"""Finds the stored pictures that are nearest to queries: through the store's index, else exactly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fxengine.collect.item import unescape_path
from fxengine.collect.paths import names_of, several
from fxengine.errors import InputError, at_least
from fxengine.features.read import FeatureStore
from fxengine.features.table_file import check_suffix, write_table
from fxengine.neighbours.index import Index, open_index
from fxengine.retrieval.queries import Asked, Queries, resolve

K = 10
Paths = str | Path | Sequence[str | Path]
_TABLE = pa.schema(
    [
        ("query", pa.string()),
        ("rank", pa.int32()),
        ("id", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Neighbour:
    """One answer: id of a stored picture, its label, and its score, higher where it is nearer."""

    id: str
    label: str | None
    score: float


@dataclass(frozen=True)
class Answer:
    """The neighbours of one query, the nearest first, and the query's own file, if it is one."""

    query: str
    picture: str | None
    neighbours: list[Neighbour]


@dataclass(frozen=True)
class SearchReport:
    """What was found.

    Attributes:
        answers: one a query, in the order asked.
        root: folder that ids are relative to.
        rows: rows that were searched, after the filter.
        metric: "cosine", "ip" or "l2".
        method: "exact", or the index and its measured recall.
        warning: why the index was not used, or None.
        open_ms: opening store and index, in milliseconds.
        embed_ms: loading the backbone, and embedding the queries.
        search_ms: looking for the neighbours of all of them.
        table: one row a neighbour: query, rank from 1, id, label, score.
    """

    answers: list[Answer]
    root: str
    rows: int
    metric: str
    method: str
    warning: str | None
    open_ms: float
    embed_ms: float
    search_ms: float

    @property
    def table(self) -> pa.Table:
        """One row a neighbour."""
        rows = [
            {"query": answer.query, "rank": rank, "id": n.id, "label": n.label, "score": n.score}
            for answer in self.answers
            for rank, n in enumerate(answer.neighbours, 1)
        ]
        return pa.Table.from_pylist(rows, _TABLE)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)


def search(
    store: str | Path,
    query: Paths = (),
    *,
    id: str | Sequence[str] = (),
    plus: Paths = (),
    minus: Paths = (),
    k: int | None = None,
    where: str | None = None,
    min_score: float | None = None,
    metric: str | None = None,
    output: str | Path | None = None,
    layer: str | None = None,
    backbone: str | Path | None = None,
    device: str = "auto",
) -> SearchReport:
    """Return the k stored pictures nearest to each query.

    The store's index answers where there is one that is true to the store and of the metric asked for, else exact
    search; the report says which, and why.

    Args:
        store: folder of a feature store.
        query: pictures, folders of pictures, or .npy files of raw vectors [n, dim], one or several; each picture or
            vector is a query.
        id: rows of the store, by their ids; each is a query, which does not find itself.
        plus: pictures that one more query is the sum of, each at length 1.
        minus: pictures that are taken away from that sum.
        k: neighbours of each; 10, or fewer where there are fewer rows, unless given.
        where: a filter over the store's columns, applied before ranking.
        min_score: leave out what is less near.
        metric: "cosine", "ip" or "l2"; that of the index, else cosine, unless given.
        output: a .parquet, .csv or .json file to write the table to.
        layer: a further layer's name; the default one unless given.
        backbone: only where neither the cache nor a fresh export gives the store's space.
        device: "auto", "cpu", "cuda" or "tensorrt".

    Raises:
        InputError: k, filter, metric or a query cannot be used, the backbone of the store's space is not to be had, or
            `output` cannot be written.
        DecodeError: a query cannot be decoded.
        StoreError: the store or its index is damaged, or has no vectors.
    """
    if output is not None:
        check_suffix(output)
    if k is not None:
        at_least("k", k, 1)
    asked = Asked(
        tuple(several("query", query)),
        names_of("id", id),
        tuple(several("plus", plus)),
        tuple(several("minus", minus)),
    )
    times = [time.perf_counter()]
    index, warning = _index(FeatureStore.open(store), metric, layer)
    if k is not None and k > len(index):
        raise InputError(f"`k` must be between 1 and {len(index)}, the rows of {store} that have a vector. Got {k}.")
    k = min(K, len(index)) if k is None else k
    allowed = index.allowed(where)
    if index.facts is None:
        _ = index.matrix  # read now, so that the time of the search is that of the search
    times.append(time.perf_counter())
    queries = resolve(asked, index.store, layer, backbone, device)
    times.append(time.perf_counter())
    answers = _answers(index, queries, k, allowed, min_score)
    times.append(time.perf_counter())
    spans = [round(1000 * (b - a), 2) for a, b in pairwise(times)]
    rows = len(index) if allowed is None else int(allowed.sum())
    root = unescape_path(index.store.provenance.root)
    report = SearchReport(answers, root, rows, index.metric, _method(index), warning, *spans)
    if output is not None:
        write_table(report.table, output)
    return report


def _index(store: FeatureStore, metric: str | None, layer: str | None) -> tuple[Index, str | None]:
    """Return what answers, and why that is not the index where there is one."""
    found = open_index(store, layer)
    if found is None:
        return Index.exact(store, metric or "cosine", layer), None
    if not found.fresh:
        why = f"{store.path} has changed since it was indexed: searched exactly."
        return Index.exact(store, metric or found.metric, layer), f"{why} `fxengine index {store.path}` updates it."
    if metric not in (None, found.metric):
        return Index.exact(store, metric or "cosine", layer), f"The index is by {found.metric}: searched exactly."
    return found, None


def _method(index: Index) -> str:
    if index.facts is None:
        return "exact"
    recall, queries = index.facts.trial.recall, index.facts.queries
    return (
        f"{index.facts.trial.factory}, recall@10 {recall.at_10:.1%} ({recall.low:.1%} to {recall.high:.1%}, {queries})"
    )


def _answers(
    index: Index, queries: Queries, k: int, allowed: np.ndarray | None, min_score: float | None
) -> list[Answer]:
    # One more than asked for where a row of the store asks: it finds itself.
    more = min(len(index), k + any(own is not None for own in queries.own))
    found, scores = index.positions(queries.vectors, more, allowed)
    names = index.table.select(["id", "label"])
    answers = []
    for i, query in enumerate(queries.names):
        rows = names.take(pa.array(found[i])).to_pylist()
        near = [
            Neighbour(row["id"], row["label"], float(score))
            for row, score in zip(rows, scores[i], strict=True)
            if row["id"] != queries.own[i] and (min_score is None or score >= min_score)
        ]
        answers.append(Answer(query, queries.pictures[i], near[:k]))
    return answers
