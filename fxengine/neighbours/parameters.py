"""What can be set when an index is asked: how many lists or vertices it visits, how many it looks at again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import faiss

from fxengine.neighbours.faiss_index import FaissIndex

# In the order in which an index passes a query on: the outermost first.
K_FACTOR, NPROBE, EF_SEARCH = "k_factor", "nprobe", "efSearch"
K = 10  # neighbours that parameters are tuned for, and recall is measured at


def inner(index: FaissIndex) -> tuple[Any, bool]:
    """Return the index that visits lists or vertices, and whether a second look follows it."""
    made, refined = faiss.downcast_index(index), False
    while True:
        if isinstance(made, faiss.IndexPreTransform):
            made = faiss.downcast_index(made.index)
        elif isinstance(made, faiss.IndexRefine):
            made, refined = faiss.downcast_index(made.base_index), True
        else:
            return made, refined


def ladder(index: FaissIndex) -> tuple[str | None, list[int]]:
    """Return the name of what an index may visit more or less of, and the values to try, ascending."""
    visited, _ = inner(index)
    if isinstance(visited, faiss.IndexIVF):
        return NPROBE, _steps(1, visited.nlist)
    if isinstance(visited, faiss.IndexHNSW):
        return EF_SEARCH, _steps(12, 2048)
    return None, []


def search_parameters(
    index: FaissIndex, values: Mapping[str, int], selector: object = None, share: float = 1.0, k: int = K
) -> object:
    """Return FAISS's search parameters for a possibly nested index.

    Args:
        index: the FAISS index.
        values: any of k_factor, nprobe and efSearch.
        selector: a FAISS IDSelector of the vectors that may be found, or None for all.
        share: how much of the index the selector lets through; as many more lists or vertices are visited, so that
            as many vectors that may be found are seen as without it.
        k: neighbours that are asked for; of more than 10, as many times more lists or vertices are visited. With those
            that find 95% of 10 neighbours, lists gave 27% of 500 and 15% of 1,000; with so many more, 96% to 100%
            (20,000 planted rows, a list holding 80; by the square root 51% to 72%).
    """
    more = max(1.0, k / K) / share
    made = faiss.downcast_index(index)
    if isinstance(made, faiss.IndexPreTransform):
        below = search_parameters(made.index, values, selector, share, k)
        return faiss.SearchParametersPreTransform(index_params=below)
    if isinstance(made, faiss.IndexRefine):
        below = search_parameters(made.base_index, values, selector, share, k)
        return faiss.IndexRefineSearchParameters(k_factor=values.get(K_FACTOR, 1), base_index_params=below)
    if isinstance(made, faiss.IndexIVF):
        lists = min(made.nlist, math.ceil(values.get(NPROBE, made.nprobe) * more))
        return faiss.IVFSearchParameters(sel=selector, nprobe=lists)
    if isinstance(made, faiss.IndexHNSW):
        vertices = max(2 * k if k > K else 0, math.ceil(values.get(EF_SEARCH, made.hnsw.efSearch) * more))
        return faiss.SearchParametersHNSW(sel=selector, efSearch=vertices)
    return faiss.SearchParameters(sel=selector)


def _steps(first: int, last: int) -> list[int]:
    """Return whole numbers from first to last, each about a quarter more than the one before."""
    values = [first]
    while values[-1] < last:
        values.append(min(last, max(values[-1] + 1, round(values[-1] * 1.25))))
    return values
