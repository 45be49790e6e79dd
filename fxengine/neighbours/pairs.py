"""Pairs of rows that may be near, through lists: for more rows than can all be compared with each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fxengine.features.blocks import Say
from fxengine.neighbours.lists import nearest_by_lists, put_into_lists

_NEIGHBOURS = 16  # of each row; copies of one picture that are more are linked through each other
_LISTS = 16  # visited by each row: a copy is in the same list or in one of the next
_BLOCK = 4096  # rows


def neighbour_pairs(vectors: np.ndarray, progress: Say | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (a, b) with b among the neighbours of a by cosine, block by block.

    Time is rows * sqrt(rows), not rows squared. Some neighbours are missed; docs/search.md says how many copies are.

    Args:
        vectors: [n, dim] raw vectors.
        progress: told every few seconds how far it is.

    Raises:
        StoreError: neither the cache nor the memory has room for the lists.
    """
    lists = put_into_lists(vectors, _LISTS, progress)
    near, _ = nearest_by_lists(lists, min(_NEIGHBOURS, len(vectors) - 1), progress=progress)
    for start in range(0, len(near), _BLOCK):
        a, at = np.nonzero(near[start : start + _BLOCK] >= 0)
        yield a + start, near[a + start, at].astype(np.int64)
