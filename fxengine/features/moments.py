"""What PCA and heads need to know of any number of rows: counts, sums and Gram matrices, fold by fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

# Rows of one product in float32: few enough that its rounding stays far below 1e-6 of the diagonal, enough for BLAS.
_ROWS = 2048


class Block(NamedTuple):
    """Some of the rows: x float32 [n, dim], and `at` int64 [n], their places in the arrays of targets and folds.

    Whoever reads blocks may change x, and keeps none: its memory serves for later blocks.
    """

    x: np.ndarray
    at: np.ndarray


# Rows that can be read again and again, in blocks and in any order.
Blocks = Callable[[], Iterator[Block]]


@dataclass(frozen=True)
class Statistics:
    """Sums over rows x with targets y and weights w, for each fold apart; all float64.

    Everything is taken of x - shift: features that are all positive would otherwise cancel when they are centred.

    Attributes:
        shift: [dim], about the mean.
        weight: [folds], sum of w; the number of rows where none are weighted.
        sums: [folds, dim], sum of w (x - shift).
        gram: [folds, dim, dim], sum of w (x - shift)(x - shift)^T.
        targets: [folds, targets], sum of w y; the classes' counts where y is one-hot.
        cross: [folds, targets, dim], sum of w y (x - shift)^T; the classes' sums where y is one-hot.
    """

    shift: np.ndarray
    weight: np.ndarray
    sums: np.ndarray
    gram: np.ndarray
    targets: np.ndarray
    cross: np.ndarray

    def merge(self, other: Statistics) -> Statistics:
        """Return the statistics of the rows of both: other parts, or what another machine collected."""
        moved = other.shifted_to(self.shift)
        return self._with(*(mine + theirs for mine, theirs in zip(self._sums(), moved._sums(), strict=True)))

    def shifted_to(self, shift: np.ndarray) -> Statistics:
        """Return the same with another shift."""
        by = self.shift - shift
        outer = self.sums[:, :, None] * by
        gram = self.gram + outer + outer.transpose(0, 2, 1) + self.weight[:, None, None] * np.outer(by, by)
        cross = self.cross + self.targets[:, :, None] * by
        sums = self.sums + self.weight[:, None] * by
        return replace(self, shift=shift, gram=gram, cross=cross, sums=sums)

    def without(self, fold: int | None) -> Statistics:
        """Return the sum over all folds but one (over all for None) as statistics of a single fold."""
        if fold is None:
            return self._with(*(value.sum(axis=0, keepdims=True) for value in self._sums()))
        return self._with(*(value.sum(axis=0, keepdims=True) - value[fold : fold + 1] for value in self._sums()))

    def only(self, fold: int) -> Statistics:
        """Return those of one fold."""
        return self._with(*(value[fold : fold + 1] for value in self._sums()))

    def centred(self) -> Centred:
        """Return the moments about the means of statistics of a single fold."""
        weight, sums, targets = float(self.weight[0]), self.sums[0], self.targets[0]
        return Centred(
            weight=weight,
            mean=self.shift + sums / weight,
            target_mean=targets / weight,
            scatter=self.gram[0] - np.outer(sums, sums) / weight,
            cross=self.cross[0] - np.outer(targets, sums) / weight,
        )

    def _sums(self) -> tuple[np.ndarray, ...]:
        return self.weight, self.sums, self.gram, self.targets, self.cross

    def _with(self, *sums: np.ndarray) -> Statistics:
        return Statistics(self.shift, *sums)


@dataclass(frozen=True)
class Centred:
    """Moments about the means, float64.

    Attributes:
        weight: sum of the rows' weights.
        mean: [dim].
        target_mean: [targets].
        scatter: [dim, dim], sum of w (x - mean)(x - mean)^T.
        cross: [targets, dim], sum of w (y - target_mean)(x - mean)^T.
    """

    weight: float
    mean: np.ndarray
    target_mean: np.ndarray
    scatter: np.ndarray
    cross: np.ndarray

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues [dim], none below 0 by rounding, and eigenvectors [dim, dim] (columns) of the scatter matrix."""
        values, vectors = np.linalg.eigh(self.scatter)
        return np.maximum(values, 0), vectors


def collect(
    blocks: Blocks,
    targets: np.ndarray | sparse.csr_array | None = None,
    fold: np.ndarray | None = None,
    folds: int = 1,
    weights: np.ndarray | None = None,
) -> Statistics:
    """Return the statistics of all rows, in one pass; memory does not grow with their number.

    Products are taken in float32 over a few thousand rows and added up in float64.

    Args:
        blocks: the rows.
        targets: [n, targets] of every row; sparse where they are classes. None where there are none.
        fold: int [n], the fold of every row; all in one unless given.
        folds: how many folds.
        weights: float [n] of every row; 1 unless given.
    """
    made: Statistics | None = None
    for x, at in blocks():
        if made is None:
            made = _empty(x, folds, 0 if targets is None else targets.shape[1])
        x -= made.shift.astype(np.float32)
        for number in range(1 if fold is None else folds):
            mine = np.arange(len(at)) if fold is None else np.flatnonzero(fold[at] == number)
            for start in range(0, len(mine), _ROWS):
                rows = mine[start : start + _ROWS]
                part = x[start : start + _ROWS] if fold is None else x[rows]  # the former copies nothing
                y = None if targets is None else targets[at[rows]]
                _add(made, number, part, y, None if weights is None else weights[at[rows]])
    if made is None:
        raise ValueError("There are no rows to collect statistics of.")
    return made


def _empty(x: np.ndarray, folds: int, targets: int) -> Statistics:
    dim = x.shape[1]
    # Rounded to float32, so that x - shift is what was meant in either type.
    shift = x.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
    shapes = [(folds,), (folds, dim), (folds, dim, dim), (folds, targets), (folds, targets, dim)]
    return Statistics(shift, *(np.zeros(shape) for shape in shapes))


def _add(
    made: Statistics, fold: int, x: np.ndarray, y: np.ndarray | sparse.csr_array | None, w: np.ndarray | None
) -> None:
    """Add rows x (shifted), targets y and weights w to a fold, in place."""
    w = np.ones(len(x)) if w is None else w
    plain = bool((w == 1).all())
    root = x if plain else x * np.sqrt(w).astype(np.float32)[:, None]
    made.weight[fold] += w.sum()
    made.sums[fold] += w.astype(np.float32) @ x
    made.gram[fold] += root.T @ root
    if y is not None:
        made.targets[fold] += y.T @ w
        made.cross[fold] += y.T @ (x if plain else x * w.astype(np.float32)[:, None])


def eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, the smallest first, and eigenvectors (columns) of a symmetric matrix.

    On one thread: 1280 x 1280 took 1.1 s on one and 1.0 s on two, but 25 s on two beside another busy program.
    """
    with threadpool_limits(1):
        values, vectors = np.linalg.eigh(matrix)
    return values, vectors


def principal_components(scatter: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (variances [dim], the largest first; components [dim, dim], one a row) of centred vectors.

    Signs are scikit-learn's: the entry of each component that is largest in magnitude is positive.

    Args:
        scatter: float64 [dim, dim], sum of (x - mean)(x - mean)^T.
        rows: how many vectors that is the sum of; of a single one all variances are 0.
    """
    values, vectors = eigh(scatter / max(rows - 1, 1))
    variances, components = np.maximum(values[::-1], 0), vectors.T[::-1]
    largest = np.argmax(np.abs(components), axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return variances, components * signs[:, None]
