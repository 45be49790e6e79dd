"""Heads in closed form from streamed statistics: every strength of every fold from one pass.

Folds cost one pass more, which scores every row by the models that did not see it, for all strengths at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from fxengine.features.moments import Blocks, Centred, Statistics, collect
from fxengine.heads.classes import one_hot

STRENGTHS = tuple(float(s) for s in np.logspace(-3, 3, 10))


@dataclass(frozen=True)
class Targets:
    """What is to be predicted, of every row.

    Attributes:
        y: class numbers int64 [n], or float64 [n, targets].
        classes: number of classes; 0 where `y` is not of classes.
    """

    y: np.ndarray
    classes: int = 0

    def matrix(self) -> np.ndarray | sparse.csr_array:
        """Return what is regressed on, [n, targets]."""
        return one_hot(self.y, self.classes) if self.classes else self.y


@dataclass(frozen=True)
class Fitted:
    """A linear model for every strength.

    Attributes:
        weights: float64 [strengths, targets, dim].
        bias: float64 [strengths, targets].
    """

    weights: np.ndarray
    bias: np.ndarray

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return float32 [n, strengths, targets]."""
        product, bias = self._flat
        found: np.ndarray = x @ product
        found += bias
        return found.reshape(len(x), *self.bias.shape)

    def at(self, strength: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weights [targets, dim] and bias [targets] of the strength with this index."""
        return self.weights[strength], self.bias[strength]

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights [dim, strengths * targets] and bias of all strengths side by side, float32."""
        weights = self.weights.reshape(-1, self.weights.shape[2]).astype(np.float32)
        return weights.T, self.bias.astype(np.float32).ravel()


def shrunk(matrix: np.ndarray, rows: np.ndarray, strengths: Sequence[float]) -> np.ndarray:
    """Return rows (matrix + s I)^-1 for every strength s, [strengths, rows, dim], from one eigendecomposition.

    Args:
        matrix: symmetric and positive [dim, dim].
        rows: [rows, dim].
        strengths: what is added to the diagonal.
    """
    # Not by `moments.eigh`: a limit of threads holds for the whole process, so that it stands around the pool below.
    values, vectors = np.linalg.eigh(matrix)
    rotated = rows @ vectors
    return np.stack([(rotated / (np.maximum(values, 0) + s)) @ vectors.T for s in strengths])


Solve = Callable[[Centred, Sequence[float]], Fitted]


@dataclass(frozen=True)
class FittedFolds:
    """A linear model without each fold, for every strength.

    Attributes:
        loss: float64 [folds, strengths], wrong answers or squared errors of each fold's rows.
        models: of each fold, without its rows.
        whole: of all rows.
        best: index of the strength with the least loss over all folds.
    """

    loss: np.ndarray
    models: list[Fitted]
    whole: Fitted
    best: int

    def chosen(self, fold: int) -> int:
        """Return the strength for a fold's rows: the best one on the rows of the other folds."""
        return _strongest_of_best(self.loss.sum(axis=0) - self.loss[fold])


def _solve_folds(solve: Solve, statistics: Statistics, folds: int, strengths: Sequence[float]) -> list[Fitted]:
    """Return the models without each fold, and that of all rows last; as many at a time as there are cores."""

    def without(fold: int | None) -> Fitted:
        return solve(statistics.without(fold).centred(), strengths)

    # An eigendecomposition gains nothing from a second thread; two of them do. The limit holds for all threads, so
    # that it has to stand outside them.
    with threadpool_limits(1), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(without, [*range(folds), None]))


def cross_validate(
    solve: Solve,
    blocks: Blocks,
    targets: Targets,
    fold: np.ndarray,
    strengths: Sequence[float] = STRENGTHS,
    weights: np.ndarray | None = None,
) -> FittedFolds:
    """Fit every fold and every strength from one pass, and score each row by its fold's models in a second one.

    Args:
        solve: from moments to a model for every strength.
        blocks: the rows.
        targets: of every row.
        fold: int [n], the fold of every row, from 0.
        strengths: what is added to the diagonal of the scatter matrix.
        weights: float [n] of every row.
    """
    folds = int(fold.max()) + 1
    statistics = collect(blocks, targets.matrix(), fold, folds, weights)
    *models, whole = _solve_folds(solve, statistics, folds, strengths)
    loss = np.zeros((folds, len(strengths)))
    for x, at in blocks():
        for number in np.unique(fold[at]):
            rows = fold[at] == number
            scores = models[number].scores(x[rows])
            loss[number] += _loss(scores, targets, at[rows], None if weights is None else weights[at[rows]])
    return FittedFolds(loss, models, whole, _strongest_of_best(loss.sum(axis=0)))


def scores_out_of_fold(blocks: Blocks, found: FittedFolds, fold: np.ndarray) -> np.ndarray:
    """Return float32 [n, targets]: every row's scores by the model of its fold, at the strength the others chose."""
    scores = np.empty((len(fold), found.whole.bias.shape[1]), np.float32)
    chosen = []
    for number, model in enumerate(found.models):
        weights, bias = model.at(found.chosen(number))
        chosen.append((weights.T.astype(np.float32), bias.astype(np.float32)))
    for x, at in blocks():
        for number in np.unique(fold[at]):
            rows = fold[at] == number
            weights, bias = chosen[number]
            scores[at[rows]] = x[rows] @ weights + bias
    return scores


def _strongest_of_best(loss: np.ndarray) -> int:
    return int(np.flatnonzero(loss <= loss.min())[-1])


def _loss(scores: np.ndarray, targets: Targets, at: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return the sum over rows for every strength, [strengths]."""
    y = targets.y[at]
    each = scores.argmax(axis=2) != y[:, None] if targets.classes else np.square(scores - y[:, None]).sum(axis=2)
    return np.asarray(each.sum(axis=0) if weights is None else weights @ each, np.float64)
