"""Finds the stored rows that are nearest to queries: through the store's index, else exactly."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fxengine.collect.item import unescape_path
from fxengine.collect.paths import names_of, several
from fxengine.errors import InputError, at_least, path_of
from fxengine.features.blocks import Say
from fxengine.features.read import FeatureStore
from fxengine.features.table_file import check_suffix, write_table
from fxengine.features.texts import texts_of
from fxengine.neighbours.index import Index, open_index
from fxengine.retrieval.other_tower import find_towers
from fxengine.retrieval.queries import Asked, Queries, Words, resolve, sort_out

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
    """One answer: id of a stored row, its label, its score, higher where it is nearer, and its text where it has one.

    The text is None of a picture, and where it is not to be had any more.
    """

    id: str
    label: str | None
    score: float
    text: str | None = None


@dataclass(frozen=True)
class Answer:
    """The neighbours of one query, the nearest first.

    Attributes:
        query: its name.
        picture: the query's own file, if it is a picture's.
        neighbours: what is near.
        own: the id of the row that asks, in a store of texts; None where none does.
    """

    query: str
    picture: str | None
    neighbours: list[Neighbour]
    own: str | None = None


@dataclass(frozen=True)
class SearchReport:
    """What was found.

    Attributes:
        answers: one a query, in the order asked.
        root: folder that ids are relative to, or the table that they stand in.
        rows: rows that were searched, after the filter.
        metric: "cosine", "ip" or "l2".
        method: "exact", or the index and its measured recall.
        warning: why the index was not used, or None.
        open_ms: opening store and index, in milliseconds.
        embed_ms: loading the backbone, and embedding the queries.
        search_ms: looking for the neighbours of all of them.
        modality: what the store holds, "picture" or "text".
        store: its folder.
        table: one row a neighbour: query, rank from 1, id, label, score, and of texts text.
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
    modality: str = "picture"
    store: str = ""

    @property
    def table(self) -> pa.Table:
        """One row a neighbour."""
        rows = [
            {"query": answer.query, "rank": rank, **asdict(n)}
            for answer in self.answers
            for rank, n in enumerate(answer.neighbours, 1)
        ]
        schema = _TABLE.append(pa.field("text", pa.string())) if self.modality == "text" else _TABLE
        return pa.Table.from_pylist(rows, schema)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data; only of a store of texts it names that, and gives neighbours a `text`."""
        data = asdict(self)
        if self.modality == "picture":
            del data["modality"], data["store"]
            for answer in data["answers"]:
                del answer["own"]
                for near in answer["neighbours"]:
                    del near["text"]
        return data


def search(
    store: str | Path,
    query: Paths = (),
    *,
    text: str | Sequence[str] = (),
    id: str | Sequence[str] = (),
    plus: Paths = (),
    minus: Paths = (),
    plus_text: str | Sequence[str] = (),
    minus_text: str | Sequence[str] = (),
    k: int | None = None,
    where: str | None = None,
    min_score: float | None = None,
    metric: str | None = None,
    output: str | Path | None = None,
    layer: str | None = None,
    backbone: str | Path | None = None,
    device: str = "auto",
    progress: Say | None = None,
) -> SearchReport:
    """Return the k stored rows nearest to each query.

    The store's index answers where there is one that is true to the store and of the metric asked for, else exact
    search; the report says which, and why.

    Args:
        store: folder of a feature store.
        query: pictures (of a store of texts .txt files, a text each), folders of them, or .npy files of raw vectors
            [n, dim], one or several; each picture, text or vector is a query. Where the store's backbone is one tower
            of a pair, also what the other one takes.
        text: of a store of texts, or of a pair, a text or several; each is a query, named by itself in a line of 60
            characters.
        id: rows of the store, by their ids; each is a query, which does not find itself.
        plus: what one more query is the sum of, each at length 1: pictures, .txt files, or ids of rows. In a store of
            words a text that is an id is that row, elsewhere only where no file has that name; a `pathlib.Path` is a
            file. The query does not find the rows that it is made of.
        minus: what is taken away from that sum.
        plus_text: texts by themselves that are added to it, too.
        minus_text: texts that are taken away from it.
        k: neighbours of each; 10, or fewer where there are fewer rows, unless given.
        where: a filter over the store's columns, applied before ranking.
        min_score: leave out what is less near.
        metric: "cosine", "ip" or "l2"; that of the index, else cosine, unless given. Between the towers of a pair it is
            cosine.
        output: a .parquet, .csv or .json file to write the table to.
        layer: a further layer's name; the default one unless given.
        backbone: only where neither the cache nor a fresh export gives the store's space, or the cache not the other
            tower of its pair: the file of either.
        device: "auto", "cpu", "cuda" or "tensorrt".
        progress: called with a sentence every few seconds while a large store's vectors are copied into the cache.

    Raises:
        InputError: k, filter, metric or a query cannot be used (a store of pictures takes no texts, one of texts no
            pictures, but for those of a pair), a backbone is not to be had, or `output` cannot be written.
        DecodeError: a query cannot be decoded.
        StoreError: the store or its index is damaged, or has no vectors.
    """
    if output is not None:
        check_suffix(output)
    if k is not None:
        at_least("k", k, 1)
    asked = Asked(
        tuple(several("query", query)),
        names_of("text", text),
        names_of("id", id),
        (*_mixed("plus", plus), *map(Words, names_of("plus_text", plus_text))),
        (*_mixed("minus", minus), *map(Words, names_of("minus_text", minus_text))),
    )
    times = [time.perf_counter()]
    opened = FeatureStore.open(store)
    wanted = sort_out(asked, opened)
    towers = find_towers(opened, wanted.foreign, backbone)
    if towers.other is not None:
        if metric not in (None, "cosine"):
            raise InputError(
                f"{wanted.foreign} asks {store} through a pair's other tower, by cosine: leave `metric` away."
            )
        metric = "cosine"
    index, warning = index_for(opened, metric, layer, other_kind=towers.other is not None)
    if k is not None and k > len(index):
        raise InputError(f"`k` must be between 1 and {len(index)}, the rows of {store} that have a vector. Got {k}.")
    k = min(K, len(index)) if k is None else k
    allowed = index.allowed(where)
    if index.facts is None:
        index.copy(progress)
        _ = index.matrix  # read now, so that the time of the search is that of the search
    times.append(time.perf_counter())
    queries = resolve(wanted, index.store, layer, towers, device)
    times.append(time.perf_counter())
    answers = _answers(index, queries, k, allowed, min_score)
    times.append(time.perf_counter())
    opening, embedding, searching = (round(1000 * (b - a), 2) for a, b in pairwise(times))
    rows = len(index) if allowed is None else int(allowed.sum())
    made = index.store.provenance
    if made.modality == "text":
        answers = _with_texts(answers, queries.own, index.store)
    root = unescape_path(made.root)
    report = SearchReport(
        answers=answers,
        root=root,
        rows=rows,
        metric=index.metric,
        method=method_of(index),
        warning=warning,
        open_ms=opening,
        embed_ms=embedding,
        search_ms=searching,
        modality=made.modality,
        store=str(store),
    )
    if output is not None:
        write_table(report.table, output)
    return report


def _mixed(name: str, value: Paths) -> tuple[str | Path, ...]:
    """Return what is added up as it was given: a text may be an id, which no path may change."""
    values = [value] if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable) else list(value)
    return tuple(each if isinstance(each, str) else path_of(name, each) for each in values)


def _with_texts(answers: list[Answer], own: list[str | None], store: FeatureStore) -> list[Answer]:
    """Return answers that say which row asks, and whose neighbours say their texts, where these are to be had."""
    texts = texts_of(store, list({near.id for answer in answers for near in answer.neighbours}))
    return [
        replace(answer, own=key, neighbours=[replace(near, text=texts.get(near.id)) for near in answer.neighbours])
        for answer, key in zip(answers, own, strict=True)
    ]


def index_for(
    store: FeatureStore, metric: str | None, layer: str | None, *, other_kind: bool
) -> tuple[Index, str | None]:
    """Return what answers, and why that is not the index where there is one.

    What of the other kind asks is unlike every row: of an index that was measured with rows nobody knows what it finds.

    Raises:
        InputError: there is no such metric.
        StoreError: the store has no vector or no such layer, or its index is damaged.
    """
    found = open_index(store, layer)
    if found is None:
        return Index.exact(store, metric or "cosine", layer), None
    if not found.fresh:
        why = f"{store.called} has changed since it was indexed: searched exactly."
        return Index.exact(store, metric or found.metric, layer), f"{why} `fxengine index {store.called}` updates it."
    if metric not in (None, found.metric):
        return Index.exact(store, metric or "cosine", layer), f"The index is by {found.metric}: searched exactly."
    if other_kind and found.facts is not None and found.facts.queries.endswith("rows"):
        why = "The index was measured with rows, which the other kind is unlike: searched exactly."
        how = f"`fxengine index {store.called} --queries FILE.npy` tries it."
        return Index.exact(store, "cosine", layer), f"{why} {how}"
    return found, None


def method_of(index: Index) -> str:
    """Return in words how an index finds what is near, and how surely."""
    if index.facts is None:
        return "exact"
    recall, queries = index.facts.trial.recall, index.facts.queries
    return (
        f"{index.facts.trial.factory}, recall@10 {recall.at_10:.1%} ({recall.low:.1%} to {recall.high:.1%}, {queries})"
    )


def _answers(
    index: Index, queries: Queries, k: int, allowed: np.ndarray | None, min_score: float | None
) -> list[Answer]:
    # More than asked for where rows of the store ask: they find themselves.
    more = min(len(index), k + max(map(len, queries.without)))
    found, scores = index.positions(queries.vectors, more, allowed)
    names = index.table.select(["id", "label"])
    answers = []
    for i, query in enumerate(queries.names):
        rows = names.take(pa.array(found[i])).to_pylist()
        near = [
            Neighbour(row["id"], row["label"], float(score))
            for row, score in zip(rows, scores[i], strict=True)
            if row["id"] not in queries.without[i] and (min_score is None or score >= min_score)
        ]
        answers.append(Answer(query, queries.pictures[i], near[:k]))
    return answers
