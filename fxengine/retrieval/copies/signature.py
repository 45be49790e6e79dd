"""Pictures that may be one although their vectors are not near: each looked at as a whole, in eight ways."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from scipy.fft import dct

from fxengine.neighbours.choose import cells
from fxengine.neighbours.exact import in_blocks
from fxengine.retrieval.copies.look import SQUARE

_WAVES = 10  # the lowest in either direction, as in perceptual hashes (PDQ has 16), but as numbers, not bits
DIM = _WAVES * _WAVES
_LIKE = 0.7  # correlation of two signatures from which the pictures are compared
_BLOCK = 1024
_EACH = 4096  # pictures up to which each is compared with each; beyond by these neighbours in these lists
_NEIGHBOURS = 16
_LISTS = 16
_ONE_WAY = (0, 1, 2, 4, 5, 6, 7)  # a turned to the left like b is b turned to the right like a


def signatures_of(details: np.ndarray) -> np.ndarray:
    """Return the coarse waves of details of squares, [n, SQUARE, SQUARE]: float32 [n, DIM] of length 1, 0 for none."""
    waves = _COSINES @ details @ _COSINES.T
    lengths = np.linalg.norm(waves, axis=(1, 2), keepdims=True)
    found: np.ndarray = np.where(lengths > 1e-3, waves / np.maximum(lengths, 1e-3), 0).reshape(len(details), DIM)
    return found


def like_pairs(signatures: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (a, b) of pictures that look alike, the second turned or not, at most so many for a row and a way.

    Args:
        signatures: float32 [n, DIM] of pictures.
        most: pairs of a row, the likest; with over 4,096 rows those of 16 that an inverted file finds.
    """
    waves = signatures.reshape(-1, _WAVES, _WAVES)
    turned = (_turned_waves(waves, way).reshape(len(waves), DIM) for way in _ONE_WAY)
    if len(waves) > _EACH:
        index = _inverted_file(signatures)
        for other in turned:
            start = 0
            for block in in_blocks(other):
                likeness, found = index.search(np.ascontiguousarray(block), _NEIGHBOURS)
                b, at = np.nonzero((likeness >= _LIKE) & (found >= 0))
                yield found[b, at], b + start
                start += len(block)
        return
    for other in turned:
        columns = np.ascontiguousarray(other.T)
        for start in range(0, len(waves), _BLOCK):
            likeness = signatures[start : start + _BLOCK] @ columns
            near = likeness >= _LIKE
            if near.sum() > most * len(near):  # pictures that are all alike: the likest of each
                place = max(0, likeness.shape[1] - most)
                near &= likeness >= np.partition(likeness, place, axis=1)[:, place, None]
            a, b = np.nonzero(near)
            yield a + start, b


def _inverted_file(signatures: np.ndarray) -> faiss.Index:
    lists = cells(len(signatures))
    index = faiss.index_factory(DIM, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # of fewer than it likes it says so on stderr
    index.train(signatures)
    index.add(signatures)
    index.nprobe = min(_LISTS, lists)
    return index


def _turned_waves(waves: np.ndarray, way: int) -> np.ndarray:
    """Return the waves of squares turned as by `fit.turned`: mirrored, odd waves change their sign; turned, x is y."""
    odd = np.where(np.arange(_WAVES) % 2, -1, 1).astype(np.float32)
    if way >= 4:
        waves = waves * odd
    for _ in range(way % 4):
        waves = waves.transpose(0, 2, 1) * odd[:, None]
    return waves


_COSINES = dct(np.eye(SQUARE), norm="ortho", axis=0)[:_WAVES].astype(np.float32)
