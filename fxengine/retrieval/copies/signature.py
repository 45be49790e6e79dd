"""Pictures that may be one although their vectors are not near: each looked at as a whole, in eight ways."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.fft import dct

from fxengine.retrieval.copies.look import SQUARE

_WAVES = 10  # the lowest in either direction, as in perceptual hashes (PDQ has 16), but as numbers, not bits
DIM = _WAVES * _WAVES
_LIKE = 0.7  # correlation of two signatures from which the pictures are compared
_BLOCK = 1024
_ONE_WAY = (0, 1, 2, 4, 5, 6, 7)  # a turned to the left like b is b turned to the right like a


def signature(square: np.ndarray) -> np.ndarray:
    """Return the coarse waves of a `Look.square`, float32 [DIM], of length 1; all 0 where it has none."""
    waves = _COSINES @ square @ _COSINES.T
    length = float(np.linalg.norm(waves))
    found: np.ndarray = (waves / length if length > 1e-3 else np.zeros_like(waves)).ravel()
    return found


def like_pairs(signatures: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (a, b) of pictures that look alike, the second turned or not, at most so many for a row and a way.

    Args:
        signatures: float32 [n, DIM].
        most: pairs of a row; the likest.
    """
    waves = signatures.reshape(-1, _WAVES, _WAVES)
    for way in _ONE_WAY:
        other = np.ascontiguousarray(_turned_waves(waves, way).reshape(len(waves), DIM).T)
        for start in range(0, len(waves), _BLOCK):
            likeness = signatures[start : start + _BLOCK] @ other
            near = likeness >= _LIKE
            if near.sum() > most * len(near):  # pictures that are all alike: the likest of each
                place = max(0, likeness.shape[1] - most)
                near &= likeness >= np.partition(likeness, place, axis=1)[:, place, None]
            a, b = np.nonzero(near)
            yield a + start, b


def _turned_waves(waves: np.ndarray, way: int) -> np.ndarray:
    """Return the waves of squares turned as by `fit.turned`: mirrored, odd waves change their sign; turned, x is y."""
    odd = np.where(np.arange(_WAVES) % 2, -1, 1).astype(np.float32)
    if way >= 4:
        waves = waves * odd
    for _ in range(way % 4):
        waves = waves.transpose(0, 2, 1) * odd[:, None]
    return waves


_COSINES = dct(np.eye(SQUARE), norm="ortho", axis=0)[:_WAVES].astype(np.float32)
