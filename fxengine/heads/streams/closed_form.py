"""Heads in closed form from streamed statistics: every strength of every fold from one pass over the rows.

A second pass scores every row by the model that did not see it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
class Linear:
    """A linear model.

    Attributes:
        weights: float64 [targets, dim].
        bias: float64 [targets].
    """

    weights: np.ndarray
    bias: np.ndarray


Solve = Callable[[Centred, float], Linear]


@dataclass(frozen=True)
class FittedFolds:
    """A linear model without each fold, each at the strength that the rows of the other folds chose.

    Attributes:
        models: of each fold, without its rows.
        whole: of all rows.
        strength: of `whole`, the one with the least squared error over all folds.
    """

    models: list[Linear]
    whole: Linear
    strength: float


def held_out_errors(rest: Centred, held: Statistics, strengths: Sequence[float]) -> np.ndarray:
    """Return sum w |y - Wx - b|^2 of rows that a ridge regression has not seen, float64 [strengths], less sum w |y|^2.

    With the eigenvectors V of the others' scatter matrix and their cross moments C, W is C V diag(1 / (values +
    strength)) V^T, and the sum needs of the rows held out no more than their moments.

    Args:
        rest: the moments that the regression is fitted to.
        held: the sums over the rows held out, of a single fold.
        strengths: what is added to the diagonal of the scatter matrix.
    """
    values, vectors = rest.spectrum
    rotated = rest.cross @ vectors
    about = held.shifted_to(rest.mean)
    cross = about.cross[0] - np.outer(rest.target_mean, about.sums[0])
    linear = (rotated * (cross @ vectors)).sum(axis=0)
    squares = (vectors.T @ about.gram[0] @ vectors) * (rotated.T @ rotated)
    mean = rest.target_mean
    constant = about.weight[0] * mean @ mean - 2 * mean @ about.targets[0]
    filters = [1 / (values + strength) for strength in strengths]
    return np.array([constant - 2 * each @ linear + each @ squares @ each for each in filters])


def cross_validate(
    solve: Solve,
    blocks: Blocks,
    targets: Targets,
    fold: np.ndarray,
    strengths: Sequence[float] = STRENGTHS,
    weights: np.ndarray | None = None,
) -> FittedFolds:
    """Fit every fold from one pass, at the strength at which ridge regression errs least on the rows held out.

    Classes are regressed on as 0 and 1. Accuracy chose worse: it is the same for many strengths, and noisy where rows
    are few (docs/decisions.md has the figures).

    Args:
        solve: from moments and a strength to a model.
        blocks: the rows.
        targets: of every row.
        fold: int [n], the fold of every row, from 0.
        strengths: what is added to the diagonal of the scatter matrix.
        weights: float [n] of every row.
    """
    folds = int(fold.max()) + 1
    statistics = collect(blocks, targets.matrix(), fold, folds, weights)
    moments = [statistics.without(number).centred() for number in (*range(folds), None)]

    def errors(number: int) -> np.ndarray:
        return held_out_errors(moments[number], statistics.only(number), strengths)

    # An eigendecomposition gains nothing from a second thread; two of them do. The limit holds for all threads, so
    # that it has to stand outside them.
    with threadpool_limits(1), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = np.stack(list(pool.map(errors, range(folds))))
        chosen = [strengths[int(sums.argmin())] for sums in (*(found.sum(axis=0) - found), found.sum(axis=0))]
        *models, whole = pool.map(solve, moments, chosen)
    return FittedFolds(models, whole, chosen[-1])


def fold_scores(blocks: Blocks, models: Sequence[Linear], fold: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield scores of rows by the model of their fold, float32 [k, targets], and the rows' places, int64 [k].

    Args:
        blocks: the rows.
        models: of each fold.
        fold: int [n], the fold of every row.
    """
    flat = [(model.weights.T.astype(np.float32), model.bias.astype(np.float32)) for model in models]
    for x, at in blocks():
        for number in np.unique(fold[at]):
            rows = fold[at] == number
            weights, bias = flat[number]
            scores: np.ndarray = x[rows] @ weights
            scores += bias
            yield scores, at[rows]


def scores_out_of_fold(blocks: Blocks, found: FittedFolds, fold: np.ndarray) -> np.ndarray:
    """Return float32 [n, targets]: every row's scores by the model of its fold."""
    scores = np.empty((len(fold), len(found.whole.bias)), np.float32)
    for part, at in fold_scores(blocks, found.models, fold):
        scores[at] = part
    return scores
