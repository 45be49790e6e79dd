"""Vectors at length 1."""

from __future__ import annotations

import numpy as np

_TINY = 1e-12  # a length below counts as this one


def unit_length(x: np.ndarray, out: np.ndarray | None = None, squares: np.ndarray | None = None) -> np.ndarray:
    """Return vectors at length 1, in their own type; a zero vector stays zero.

    Squares must not overflow; `neighbours.metric.prepare` takes numbers of any size.

    Args:
        x: floating-point [n, dim].
        out: where to put them; may be `x`.
        squares: the squared lengths, [n], where they are known.
    """
    lengths = np.linalg.norm(x, axis=1) if squares is None else np.sqrt(squares)
    unit: np.ndarray = np.divide(x, np.maximum(lengths, _TINY)[:, None], out=out)
    return unit
