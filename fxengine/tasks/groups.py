"""Groups of rows whose pictures are the same file or nearly the same picture.

Duplicates are reported by them, and folds must not part them: a copy in another fold is an answer known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_BLOCK = 2048  # rows of a tile of the product: 16 MB in float32
_ROUNDING = 1e-6  # cosine of a vector with itself, in float32, may be this far below 1


def near_duplicate_groups(vectors: np.ndarray, hashes: Sequence[str | None], threshold: float) -> np.ndarray:
    """Return the group of every row: rows are linked by equal hashes or near vectors, and links chain.

    Args:
        vectors: [n, dim] raw vectors; they are compared by cosine. A zero vector is near nothing.
        hashes: n content hashes; None equals nothing.
        threshold: least cosine of a link.

    Returns:
        int64 [n], numbered from 0 in the order of each group's first row.
    """
    of_hash: dict[str, int] = {}
    groups = np.array([of_hash.setdefault(key, i) if key else i for i, key in enumerate(hashes)], np.int64)
    for a, b in _near_pairs(vectors, threshold):
        groups = _linked(groups, a, b)
    return _in_order(groups)


def _near_pairs(vectors: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (a, b) of the pairs that are near, a tile of the product at a time."""
    for start in range(0, len(vectors), _BLOCK):
        left = _unit(vectors[start : start + _BLOCK])
        for other in range(start, len(vectors), _BLOCK):
            right = left if other == start else _unit(vectors[other : other + _BLOCK])
            a, b = np.nonzero(left @ right.T >= threshold - _ROUNDING)
            yield a + start, b + other


def _linked(groups: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the groups after the rows `a` and `b` were linked pairwise."""
    links = coo_array((np.ones(len(a), bool), (groups[a], groups[b])), shape=(len(groups), len(groups)))
    joined: np.ndarray = connected_components(links, directed=False)[1][groups]
    return joined


def _in_order(groups: np.ndarray) -> np.ndarray:
    """Return the groups numbered in the order of their first rows."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit = vectors.astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    return unit
