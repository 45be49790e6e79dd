"""Nearest neighbours over a store: exactly, or by an index that is kept true to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import InputError, StoreError, explained
from fxengine.features.blocks import counted
from fxengine.features.fingerprint import store_fingerprint
from fxengine.features.read import FeatureStore
from fxengine.features.where import matching
from fxengine.neighbours import file
from fxengine.neighbours.builder import Built, build, update
from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.exact import exact_search, in_blocks, ranked_again
from fxengine.neighbours.faiss_index import FaissIndex, in_words
from fxengine.neighbours.file import IndexFacts
from fxengine.neighbours.metric import LARGEST, check_queries, prepare, scores
from fxengine.neighbours.parameters import search_parameters
from fxengine.neighbours.rows import check_searchable, is_large, searchable_rows
from fxengine.storage import shown

# With a filter that leaves this many rows or fewer, looking at all of them is as fast as an index, and exact.
_NARROW = 20_000
_SPARE = 8  # answers more than are asked for: which of those that are as near come first is told pair by pair
_LESS = "Free memory, or ask for an index that takes less."


@dataclass(frozen=True)
class SearchResult:
    """Neighbours of each query, the nearest first.

    Attributes:
        ids: ids of the neighbours, a list of k for each query.
        scores: float32 [queries, k]: cosine, inner product, or minus the Euclidean distance.
    """

    ids: list[list[str]]
    scores: np.ndarray


@dataclass(frozen=True)
class Index:
    """A store that can be asked for neighbours.

    Attributes:
        store: the store that it searches.
        metric: "cosine", "ip" or "l2".
        layer: the layer's name, or None for the default one.
        facts: what is known of the index, or None where every search is exact.
        fresh: whether the store is as it was when the index was made or updated; else it answers nothing.
    """

    store: FeatureStore
    metric: str = "cosine"
    layer: str | None = None
    facts: IndexFacts | None = None
    fresh: bool = True
    _faiss: FaissIndex | None = None
    _vectors: pa.Table | None = None
    _folder: Path | None = None

    @classmethod
    def exact(cls, store: FeatureStore | str | Path, metric: str = "cosine", layer: str | None = None) -> Index:
        """Return exact search over a store; nothing is built.

        Raises:
            StoreError: the store has no vector or no such layer.
            InputError: there is no such metric.
        """
        opened = _opened(store)
        check_searchable(opened, metric, layer)
        return cls(opened, metric, layer)

    @classmethod
    def build(
        cls,
        store: FeatureStore | str | Path,
        *,
        metric: str = "cosine",
        layer: str | None = None,
        recall: float = 0.95,
        memory: int | None = None,
        latency_ms: float | None = None,
        factory: str | None = None,
        queries: np.ndarray | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Index:
        """Build the fastest index that is as right as asked; `.save()` keeps it.

        Args:
            store: a feature store or its folder.
            metric: "cosine", "ip" (inner product) or "l2".
            layer: a further layer's name; the default one unless given.
            recall: share of the 10 exact neighbours that it must find, between 0 and 1.
            memory: most bytes that it may take.
            latency_ms: longest time of one query in milliseconds, by the median.
            factory: FAISS's name of the index, for those who know; only its parameters are then tuned.
            queries: raw vectors, [n, dim], to measure and tune with, where what will be asked is unlike the rows; 2,000
                rows that are held out at first unless given.
            progress: called with a sentence at every step.

        Raises:
            InputError: a value is out of its range, no index fits into the memory, or FAISS knows no such factory.
            StoreError: the store has no vector or no such layer.
        """
        opened, wanted = _opened(store), Wanted(metric, layer, recall, memory, latency_ms, factory)
        with explained(f"{opened.called} cannot be indexed", _LESS):
            return _built(opened, build(opened, wanted, queries, progress or _silent))

    @classmethod
    def load(cls, store: FeatureStore | str | Path, *, layer: str | None = None, folder: Path | None = None) -> Index:
        """Load the index of a store; where the store has changed since (`fresh` is False), update it first.

        Args:
            store: a feature store or its folder.
            layer: a further layer's name.
            folder: where it was saved; inside the store's folder unless given.

        Raises:
            StoreError: there is none, it is damaged, or it is of another feature space.
        """
        opened = _opened(store)
        found = open_index(opened, layer, folder)
        if found is None:
            raise StoreError(f"{opened.called} has no index. `fxengine index {opened.called}` makes one.")
        return found

    def save(self, folder: Path | None = None) -> Path:
        """Write the index, inside the store's folder unless another is given; return where.

        Raises:
            StoreError: it cannot be written; what was there is kept.
            InputError: this is exact search, of which there is nothing to save, or of a selection.
        """
        if self.facts is None or self._faiss is None:
            raise InputError("Exact search has no index to save.")
        _refuse_selection(self.store, "save")
        target = folder or index_folder(self.store, self.layer)
        file.write_index(target, self._faiss, self._all_rows, self.facts)
        return target

    def update(self, *, queries: np.ndarray | None = None, progress: Callable[[str], None] | None = None) -> Index:
        """Return an index that is true to the store as it is now: only what changed is added and removed.

        It is built anew where more than a fifth has changed.
        The FAISS index is changed in place, so that this object is used up.

        Args:
            queries: as of `build`, for the case that it is built anew.
            progress: called with a sentence at every step.

        Raises:
            StoreError: the store has no vector any more, or is of another feature space.
            InputError: this searches a selection.
        """
        _refuse_selection(self.store, "update")
        store = FeatureStore.open(self.store.path)
        if self.facts is None or self._faiss is None:
            return replace(self, store=store)
        made = Built(self._faiss, self._all_rows, self.facts)
        with explained(f"The index of {store.called} cannot be updated", _LESS):
            return _built(store, update(store, made, queries, progress or _silent))

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, vectors: np.ndarray, k: int = 10, *, where: str | None = None) -> SearchResult:
        """Return the k nearest rows to every query.

        Args:
            vectors: [queries, dim] raw vectors, or one, [dim].
            k: neighbours of each; fewer come back where a filter leaves fewer rows.
            where: a filter over the store's columns, applied before ranking: "label == 'cats' and width > 500".

        Raises:
            InputError: k is not between 1 and the number of rows, the vectors' dim is not the store's, a vector is not
                finite or (by cosine) zero, or the filter is wrong or leaves nothing.
        """
        found, near = self.positions(vectors, k, self.allowed(where))
        return SearchResult([self._ids.take(pa.array(row)).to_pylist() for row in found], near)

    def allowed(self, where: str | None) -> np.ndarray | None:
        """Return which rows a filter leaves, bool [n], or None for all; raises InputError where it leaves none."""
        if where is None:
            return None
        kept = matching(self.table, where)
        if not kept.any():
            raise InputError(f"`where` {where!r} leaves none of the {len(self)} rows of {self.store.called}.")
        return kept

    def positions(
        self, vectors: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return positions of the neighbours in the store's order, int64 [queries, k], and their scores, float32.

        Args:
            vectors: [queries, dim] raw vectors, or one, [dim].
            k: neighbours of each; fewer come back where `allowed` leaves fewer rows.
            allowed: bool [n], which rows may be found; all unless given.

        Raises:
            InputError: k is not between 1 and the number of rows, the vectors' dim is not the store's, or a vector is
                not finite or (by cosine) zero.
            StoreError: the store has changed since it was indexed.
        """
        if not self.fresh:
            raise StoreError(f"{self.store.called} has changed since it was indexed: update the index.")
        queries = np.atleast_2d(vectors)
        dim = self.store.provenance.dim_of(self.layer)
        if queries.ndim != 2 or queries.shape[1] != dim:
            raise InputError(f"A query must have {dim} numbers. Got an array of shape {list(np.shape(vectors))}.")
        check_queries(queries, self.metric)
        if not 1 <= k <= len(self):
            raise InputError(f"k must be between 1 and {len(self)}, the rows of {self.store.called}. Got {k}.")
        k = k if allowed is None else min(k, int(allowed.sum()))
        with explained(f"{self.store.called} cannot be searched", "Free memory, or ask less at once."):
            if self._faiss is None or (allowed is not None and allowed.sum() <= _NARROW):
                return self._exactly(queries, k, allowed)
            found, near = self._approximately(queries, k, allowed)
            short = (found < 0).any(axis=1)
            if short.any():  # the lists that were visited hold fewer than k
                found[short], near[short] = self._exactly(queries[short], k, allowed)
            return found, near

    def _exactly(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        rows = None if allowed is None else np.flatnonzero(allowed)
        self._check_size()
        found, near = exact_search(in_blocks(self.matrix, rows), queries, k + _SPARE, self.metric)
        found, near = ranked_again(self.matrix, found if rows is None else rows[found], near, queries, self.metric)
        return found[:, :k], near[:, :k]

    def _check_size(self) -> None:
        """Raise InputError where a row has numbers whose squares leave float32."""
        if self.metric != "cosine" and self._largest > LARGEST:
            raise InputError(
                f"{self.store.called} has numbers over {LARGEST:.0e}, too large to compare by {self.metric}; cosine "
                "has no limit."
            )

    @cached_property
    def _largest(self) -> float:
        """The largest number of all rows; float16 holds none that is too large."""
        if self.matrix.dtype == np.float16:
            return float(np.finfo(np.float16).max)
        return max(max(float(block.max()), -float(block.min())) for block in in_blocks(self.matrix))

    def _approximately(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        at = self._at
        may = at >= 0 if allowed is None else (at >= 0) & allowed[at]
        if not may.any():  # its rows are not those of the store
            return self._exactly(queries, k, allowed)
        selector = None if may.all() else faiss.IDSelectorBitmap(np.packbits(may, bitorder="little"))
        assert self.facts is not None
        assert self._faiss is not None
        set_to = search_parameters(self._faiss, self.facts.trial.parameters, selector, float(may.mean()), k)
        with in_words():
            distances, found = self._faiss.search(prepare(queries, self.metric), k, params=set_to)
        return np.where(found < 0, -1, at[found]), scores(distances, self.metric)

    @cached_property
    def table(self) -> pa.Table:
        """The small columns of the rows that have a vector, in the store's order."""
        return searchable_rows(self.store)

    @cached_property
    def _ids(self) -> pa.ChunkedArray:
        return self.table["id"]

    @cached_property
    def matrix(self) -> np.ndarray:
        """The raw vectors in the order of `table`, [n, dim]; many are mapped from the cache, and read-only."""
        return self.store.vectors(layer=self.layer, mmap=self._is_large)

    @property
    def _is_large(self) -> bool:
        return is_large(self.store, len(self), self.layer)

    def copy(self, progress: Callable[[str], None] | None) -> None:
        """Make the copy that `matrix` is mapped from, where it is not there; says every few seconds how far it is."""
        if self._is_large:
            self.store.copy(self.layer, counted("vectors copied into the cache", len(self), progress))

    @property
    def _all_rows(self) -> pa.Table:
        """A row for every vector of the index; of one that was loaded they are read now, since no search needs all."""
        if self._folder is None:
            return self._vectors
        assert self.facts is not None
        return file.read_rows(self._folder, self.facts)

    @cached_property
    def _at(self) -> np.ndarray:
        """Position in the store of every vector of the index, -1 for one that is gone."""
        assert self._vectors is not None
        at = pc.index_in(self._vectors["row"], self.table["row"].combine_chunks())
        living = np.asarray(self._vectors["living"])
        return np.where(living, np.asarray(at.fill_null(-1)), -1)


def open_index(store: FeatureStore, layer: str | None, folder: Path | None = None) -> Index | None:
    """Return the index of a store, be it fresh or not, or None where there is none.

    Raises:
        StoreError: it is damaged, or of another feature space than the store.
    """
    folder = folder or index_folder(store, layer)
    facts = file.read_facts(folder)
    if facts is None:
        return None
    of, wanted = (facts.space, facts.wanted.layer), (store.provenance.space, layer)
    if of != wanted:
        raise StoreError(
            f"{shown(folder)} is of feature space {_space(*of)}, not of {_space(*wanted)}. "
            f"`fxengine index {store.called} --rebuild` makes it anew."
        )
    loaded, vectors = file.read_index(folder, facts, store.provenance.dim_of(layer))
    fresh = facts.store == store_fingerprint(store)
    return Index(store, facts.wanted.metric, layer, facts, fresh, loaded, vectors, folder)


def index_folder(store: FeatureStore, layer: str | None) -> Path:
    """Return where the index of a store is kept: readers of Parquet folders pass over a name that begins with "_"."""
    return store.path / ("_index" if layer is None else f"_index@{layer}")


def _built(store: FeatureStore, made: Built) -> Index:
    wanted = made.facts.wanted
    return Index(store, wanted.metric, wanted.layer, made.facts, True, made.index, made.rows)


def _refuse_selection(store: FeatureStore, what: str) -> None:
    """Raise InputError for a selection: an index on disk is of all rows, and is asked for some of them."""
    if store.is_selection:
        raise InputError(
            f"This index searches {len(store)} rows of {store.called}: {what} that of the whole store, and load it for "
            "the selection."
        )


def _opened(store: FeatureStore | str | Path) -> FeatureStore:
    return store if isinstance(store, FeatureStore) else FeatureStore.open(store)


def _space(space: str, layer: str | None) -> str:
    return space[:12] if layer is None else f"{space[:12]}, layer {layer}"


def _silent(_: str) -> None:
    pass
