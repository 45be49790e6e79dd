"""In which order rows are asked for: most doubtful, most likely of a class, or most different from what is labelled."""

from __future__ import annotations

import numpy as np

from fxengine.features.float16 import widen
from fxengine.features.unit import unit_length

_ROWS = 4096  # at a time
_SAMPLE = 4000  # rows among which the most different are looked for, one after the other
_PICKED = 100  # of these


class Nearness:
    """How near each row is to the nearest one with a label; kept up as labels come.

    Attributes:
        near: cosine, float32 [m]; of no label to the mean of all rows.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix, self._known = matrix, np.zeros(0, np.int64)
        self.near = np.zeros(0, np.float32)

    def update(self, places: np.ndarray) -> np.ndarray:
        """Return it for the rows that have a label now, int64 [n] places."""
        new = np.setdiff1d(places, self._known)
        if not len(self.near) or not len(places) or len(np.setdiff1d(self._known, places)):
            self.near = np.full(len(self._matrix), -np.inf, np.float32)
            new = places
        to = unit_length(widen(self._matrix[new])) if len(places) else _mean(self._matrix)
        if len(to):
            for start in range(0, len(self._matrix), _ROWS):
                block = slice(start, start + _ROWS)
                x = unit_length(widen(self._matrix[block]))
                np.maximum(self.near[block], (x @ to.T).max(axis=1), out=self.near[block])
        self._known = places
        return self.near


def most_different(matrix: np.ndarray, near: np.ndarray, left: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the rows that are left, the most different first, int64, by farthest-first traversal (Gonzalez 1985).

    Each of the first hundred is the one farthest from what is labelled and from those before it, among 4,000 at random
    of the rows that are left; the others follow by their distance from what is labelled.

    Args:
        matrix: raw vectors of all rows, [m, dim].
        near: cosine to the nearest row with a label, [m].
        left: places of the rows that have none, int64 [k].
        seed: of the sample.
    """
    some = left
    if len(left) > _SAMPLE:
        some = left[np.sort(np.random.default_rng(seed).choice(len(left), _SAMPLE, replace=False))]
    x, nearest = unit_length(widen(matrix[some])), near[some].copy()
    picked = list[int]()
    for _ in range(min(_PICKED, len(some))):
        at = int(nearest.argmin())
        picked.append(at)
        np.maximum(nearest, x @ x[at], out=nearest)
        nearest[picked] = np.inf
    first = some[picked]
    rest = np.setdiff1d(left, first)
    return np.concatenate([first, rest[np.argsort(near[rest], kind="stable")]])


def _mean(matrix: np.ndarray) -> np.ndarray:
    """Return the mean direction of all rows, float32 [1, dim]."""
    total = np.zeros(matrix.shape[1])
    for start in range(0, len(matrix), _ROWS):
        total += unit_length(widen(matrix[start : start + _ROWS])).sum(axis=0)
    return unit_length(total[None].astype(np.float32))
