"""Groups of rows whose pictures are the same file or nearly the same picture.

Duplicates are reported by them, and folds must not part them: a copy in another fold is an answer known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fxengine.features.blocks import Say, counted, counted_blocks, matrix_blocks
from fxengine.features.float16 import widen
from fxengine.features.mapped import let_go
from fxengine.features.moments import collect, principal_components
from fxengine.features.unit import unit_length
from fxengine.neighbours.exact import exact_search, in_blocks
from fxengine.neighbours.lists import make_room
from fxengine.neighbours.pairs import neighbour_pairs

_BLOCK = 2048  # rows of a tile of the product: 16 MB in float32
ALL_PAIRS = 30_000  # rows up to which each is compared with each
_ROUNDING = 1e-6  # cosine of a vector with itself, in float32, may be this far below 1
WHITENED_FROM = 20_000  # rows that the whitening is learnt from
# Likeness from which pictures, and texts, may show the same: most copies and crops reach it, few other pairs do.
SIBLINGS = {"picture": 0.2, "text": 0.6}
_ASKED = 2_000  # rows to learn the threshold from
_BEYOND = 10  # the neighbour that is taken for another picture


def near_duplicate_groups(
    vectors: np.ndarray, hashes: Sequence[str | None], threshold: float, candidates: np.ndarray | None = None
) -> np.ndarray:
    """Return the group of every row: rows are linked by equal hashes or near vectors, and links chain.

    Args:
        vectors: [n, dim] vectors; they are compared by cosine. A zero vector is near nothing.
        hashes: n content hashes; None equals nothing.
        threshold: least cosine of a link.
        candidates: [n, dim] vectors to look for neighbours with, where there are too many rows (over 30,000) to
            compare each with each; `vectors` unless given.

    Returns:
        int64 [n], numbered from 0 in the order of each group's first row.
    """
    of_hash: dict[str, int] = {}
    groups = np.array([of_hash.setdefault(key, i) if key else i for i, key in enumerate(hashes)], np.int64)
    if len(vectors) <= ALL_PAIRS:
        pairs = _near_pairs(vectors, threshold)
    else:
        found = neighbour_pairs(vectors if candidates is None else candidates)
        pairs = ((a, b) for a, b, _ in _near_neighbours(vectors, found, threshold))
    for a, b in pairs:
        groups = _linked(groups, a, b)
    return _in_order(groups)


def candidate_pairs(
    vectors: np.ndarray, least: float, most: int, near: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows (a, b) that are worth comparing by what they were made from, and their cosines, float32.

    Args:
        vectors: [n, dim] vectors; they are compared by cosine.
        least: cosine below which a pair is not worth it.
        most: pairs of a row at most, its nearest; with over 30,000 rows those of `near`.
        near: rows and their neighbours, block by block, as `neighbour_pairs` yields them; read with so many rows alone.
    """
    if len(vectors) > ALL_PAIRS:
        yield from _near_neighbours(vectors, near, least)
        return
    start = 0
    for block in in_blocks(vectors):
        found, scores = exact_search(in_blocks(vectors), block, most + 1, "cosine")
        a, at = np.nonzero((scores >= least - _ROUNDING) & (found != np.arange(start, start + len(block))[:, None]))
        yield a + start, found[a, at], scores[a, at]
        start += len(block)


@dataclass(frozen=True)
class Whitening:
    """What turns vectors into those in which copies stand out; see `whiten`.

    Attributes:
        mean: float32 [dim], of unit vectors.
        turn: float32 [dim, components], onto the principal components, each divided by its spread.
    """

    mean: np.ndarray
    turn: np.ndarray

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Return raw vectors, [n, dim], whitened, float32 [n, components] of length 1."""
        return _unit((_unit(vectors) - self.mean) @ self.turn)


def learn_whitening(vectors: np.ndarray) -> Whitening:
    """Return the whitening of these raw vectors, [n, dim], of which there are two at least."""
    moments = collect(matrix_blocks(vectors)).without(None).centred()
    variances, components = principal_components(moments.scatter, len(vectors))
    rank = max(1, min(len(variances), len(vectors) - 1))
    scale = np.sqrt(variances + max(variances.sum() / rank, 1e-12))
    return Whitening(moments.mean.astype(np.float32), (components.T / scale).astype(np.float32))


def whiten(vectors: np.ndarray, progress: Say | None = None) -> np.ndarray:
    """Return vectors in which copies of a picture stand out from pictures of the same kind, float16 [n, dim].

    Unit vectors are centred and turned onto their principal components; each is then divided by the root of its
    variance plus the mean variance (a ridge, so that few rows do not blow up noise), and scaled to length 1. What many
    pictures have in common then counts less than what only copies share. Cosine of the plain vectors finds 86%
    of planted copies at a precision of 99%, cosine of these 96% (docs/search.md).

    Where they are large they are mapped from a file without a name, so that memory does not grow with them.

    Args:
        vectors: [n, dim] raw vectors.
        progress: told every few seconds how far it is.

    Raises:
        StoreError: neither the cache nor the memory has room for them.
    """
    if len(vectors) < 2:
        return vectors.astype(np.float16)
    chosen = np.random.default_rng(0).permutation(len(vectors))[:WHITENED_FROM]
    whitening = learn_whitening(vectors[np.sort(chosen)])
    whitened = make_room((len(vectors), whitening.turn.shape[1]), "float16")
    start, step = 0, counted("vectors whitened", len(vectors), progress)
    for block in in_blocks(vectors):
        whitened[start : start + len(block)] = whitening(block)
        start += len(block)
        let_go(whitened)
        step(start)
    return whitened


def by_chance(rows: int, dim: int) -> float:
    """Return the cosine that the nearest of so many unrelated directions reach, sqrt(2 ln(n^2 / 2) / dim)."""
    return math.sqrt(2 * math.log(max(2, rows * rows / 2)) / max(1, min(dim, rows - 1)))


def choose_threshold(whitened: np.ndarray, progress: Say | None = None) -> float:
    """Return the cosine of whitened vectors from which two pictures are taken for copies.

    A picture's tenth neighbour is hardly ever a copy of it: from the level that 99% of them stay below, the threshold
    is a third of the way to 1. It is never below what the nearest of so many unrelated directions reach by chance,
    sqrt(2 ln(n^2 / 2) / rank), which counts where there are few rows or short vectors.

    Args:
        whitened: float16 [n, dim], what `whiten` returned.
        progress: told every few seconds how far it is.
    """
    n, dim = whitened.shape
    level = 0.0
    if n > _BEYOND:
        asked = np.random.default_rng(0).permutation(n)[:_ASKED]
        blocks = counted_blocks(in_blocks(whitened), "vectors looked at for the threshold", n, progress)
        scores = exact_search(blocks, whitened[asked], _BEYOND + 1, "cosine")[1]
        level = max(0.0, float(np.percentile(scores[:, _BEYOND], 99)))
    return round(min(0.95, max(level + (1 - level) / 3, by_chance(n, dim))), 3)


def _near_pairs(vectors: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (a, b) of the pairs that are near, a tile of the product at a time."""
    for start in range(0, len(vectors), _BLOCK):
        left = _unit(vectors[start : start + _BLOCK])
        for other in range(start, len(vectors), _BLOCK):
            right = left if other == start else _unit(vectors[other : other + _BLOCK])
            a, b = np.nonzero(left @ right.T >= threshold - _ROUNDING)
            yield a + start, b + other


def _near_neighbours(
    vectors: np.ndarray, pairs: Iterable[tuple[np.ndarray, np.ndarray]], threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield those pairs of neighbouring rows that are near, and their cosines."""
    for a, b in pairs:
        for start in range(0, len(a), _BLOCK):
            first, second = a[start : start + _BLOCK], b[start : start + _BLOCK]
            cosines = np.einsum("ij,ij->i", _unit(vectors[first]), _unit(vectors[second]))
            near = cosines >= threshold - _ROUNDING
            yield first[near], second[near], cosines[near]


def _linked(groups: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the groups after the rows `a` and `b` were linked pairwise."""
    parted = groups[a] != groups[b]
    if not parted.any():
        return groups
    ends = groups[a[parted]], groups[b[parted]]
    links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(groups), len(groups)))
    joined: np.ndarray = connected_components(links, directed=False)[1][groups]
    return joined


def _in_order(groups: np.ndarray) -> np.ndarray:
    """Return the groups numbered in the order of their first rows."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit = widen(vectors)
    return unit_length(unit, out=unit)
