"""Exact search by cosine over every vector, by FAISS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from fxengine.errors import StoreError


@dataclass(frozen=True)
class SearchResult:
    """Neighbours of each query, the nearest first.

    Attributes:
        ids: ids of the neighbours, a list of k for each query.
        scores: float32 [queries, k], cosine between -1 and 1.
    """

    ids: list[list[str]]
    scores: np.ndarray


class FlatIndex:
    """Every vector of a store, normalised, in memory."""

    def __init__(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """Take ids and [n, dim] raw vectors."""
        if not len(ids):
            raise StoreError("The store has no row with a vector: there is nothing to search.")
        self._ids = ids
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(_unit(vectors))

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, queries: np.ndarray, k: int) -> SearchResult:
        """Return the k nearest rows, or all where there are fewer, to [n, dim] raw vectors."""
        scores, found = self._index.search(_unit(queries), min(k, len(self._ids)))
        return SearchResult([[self._ids[i] for i in row] for row in found], scores)


def _unit(vectors: np.ndarray) -> np.ndarray:
    copied = np.array(vectors, np.float32, order="C")
    faiss.normalize_L2(copied)
    return copied
