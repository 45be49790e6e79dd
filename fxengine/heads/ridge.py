"""Ridge regression to one-hot targets, in closed form, from streamed statistics.

One eigendecomposition of the scatter matrix gives the solution for every strength. Folds cost one pass more, which
scores every row by the models that did not see it, for all strengths at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from fxengine.heads.calibration import fit_scale, probabilities
from fxengine.heads.classes import balanced_weights, deal_folds, one_hot
from fxengine.heads.graph import HeadGraph
from fxengine.heads.statistics import Block, Blocks, Centred, Statistics, collect

KINDS = ("classes", "labels", "numbers")
STRENGTHS = tuple(float(s) for s in np.logspace(-3, 3, 10))
_FOLDS = 5
# Out-of-fold scores of at most so many rows fix the scale of the scores: one number needs no more.
_SCALE_ROWS = 20_000


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
    """A ridge model for every strength.

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

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights [dim, strengths * targets] and bias of all strengths side by side, float32."""
        weights = self.weights.reshape(-1, self.weights.shape[2]).astype(np.float32)
        return weights.T, self.bias.astype(np.float32).ravel()


@dataclass(frozen=True)
class CrossValidated:
    """What a cross-validation in streams found.

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


def solve(moments: Centred, strengths: Sequence[float]) -> Fitted:
    """Return argmin sum w |y - Wx - b|^2 + strength |W|^2 for every strength, the bias unpenalised."""
    values, vectors = np.linalg.eigh(moments.scatter)
    rotated = moments.cross @ vectors
    weights = np.stack([(rotated / (np.maximum(values, 0) + s)) @ vectors.T for s in strengths])
    return Fitted(weights, moments.target_mean - weights @ moments.mean)


def _solve_folds(statistics: Statistics, folds: int, strengths: Sequence[float]) -> list[Fitted]:
    """Return the models without each fold, and that of all rows last; as many at a time as there are cores."""

    def without(fold: int | None) -> Fitted:
        return solve(statistics.without(fold).centred(), strengths)

    # An eigendecomposition gains nothing from a second thread; two of them do. The limit holds for all threads, so
    # that it has to stand outside them.
    with threadpool_limits(1), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(without, [*range(folds), None]))


def cross_validate(
    blocks: Blocks,
    targets: Targets,
    fold: np.ndarray,
    strengths: Sequence[float] = STRENGTHS,
    weights: np.ndarray | None = None,
) -> CrossValidated:
    """Fit every fold and every strength from one pass, and score each row by its fold's models in a second one.

    Args:
        blocks: the rows.
        targets: of every row.
        fold: int [n], the fold of every row, from 0.
        strengths: what is added to the diagonal of the scatter matrix.
        weights: float [n] of every row.
    """
    folds = int(fold.max()) + 1
    statistics = collect(blocks, targets.matrix(), fold, folds, weights)
    *models, whole = _solve_folds(statistics, folds, strengths)
    loss = np.zeros((folds, len(strengths)))
    for x, at in blocks():
        for number in np.unique(fold[at]):
            rows = fold[at] == number
            scores = models[number].scores(x[rows])
            loss[number] += _loss(scores, targets, at[rows], None if weights is None else weights[at[rows]])
    return CrossValidated(loss, models, whole, _strongest_of_best(loss.sum(axis=0)))


def out_of_fold(blocks: Blocks, found: CrossValidated, fold: np.ndarray) -> np.ndarray:
    """Return float32 [n, targets]: every row's scores by the model of its fold, at the strength the others chose."""
    scores = np.empty((len(fold), found.whole.bias.shape[1]), np.float32)
    chosen = [found.chosen(number) for number in range(len(found.models))]
    for x, at in blocks():
        for number in np.unique(fold[at]):
            rows = fold[at] == number
            model, strength = found.models[number], chosen[number]
            weights, bias = model.weights[strength], model.bias[strength]
            scores[at[rows]] = x[rows] @ weights.T.astype(np.float32) + bias.astype(np.float32)
    return scores


def _strongest_of_best(loss: np.ndarray) -> int:
    return int(np.flatnonzero(loss <= loss.min())[-1])


def _loss(scores: np.ndarray, targets: Targets, at: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return the sum over rows for every strength, [strengths]."""
    y = targets.y[at]
    each = scores.argmax(axis=2) != y[:, None] if targets.classes else np.square(scores - y[:, None]).sum(axis=2)
    return np.asarray(each.sum(axis=0) if weights is None else weights @ each, np.float64)


class _Ridge(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share: the fit in memory, by the streamed one over a single block."""

    def __init__(self, strengths: Sequence[float] = STRENGTHS, balanced: bool = False, seed: int = 0) -> None:
        self.strengths = strengths
        self.balanced = balanced
        self.seed = seed

    def _fit(self, x: np.ndarray, targets: Targets) -> np.ndarray | None:
        """Set coef_ and intercept_; return out-of-fold scores, or None where there are too few rows for folds."""
        n = len(x)
        mean, rotation = x.mean(axis=0), None
        if n < x.shape[1]:  # all that matters lies in the rows' span
            rotation = np.linalg.svd(x - mean, full_matrices=False)[2]
        z = np.asarray((x - mean) if rotation is None else (x - mean) @ rotation.T, np.float32)
        blocks: Blocks = lambda: iter([Block(z, np.arange(n))])  # noqa: E731
        weights = balanced_weights(targets.y, targets.classes) if self.balanced else None
        fold = deal_folds(targets.y if targets.classes else None, n, min(_FOLDS, n), self.seed)
        if n < 2 * _FOLDS:
            moments = collect(blocks, targets.matrix(), weights=weights).without(None).centred()
            model, best, scores = solve(moments, self.strengths), len(self.strengths) // 2, None
        else:
            found = cross_validate(blocks, targets, fold, self.strengths, weights)
            model, best, scores = found.whole, found.best, out_of_fold(blocks, found, fold)
        self.strength_ = self.strengths[best]
        coef = model.weights[best]
        self.coef_ = coef if rotation is None else coef @ rotation
        self.intercept_ = model.bias[best] - self.coef_ @ mean
        return scores

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, X, reset=False)
        result: np.ndarray = x @ self.coef_.T + self.intercept_
        return result


class RidgeClassifier(ClassifierMixin, _Ridge):  # type: ignore[misc]
    """Ridge regression to one-hot classes, or to 0 and 1 of several labels, its strength chosen by five folds.

    Args:
        strengths: of which the best is taken, by accuracy (classes) or squared error (labels).
        balanced: whether every class counts as much, whatever its rows.
        seed: of the folds.

    Scores become probabilities by a softmax (a sigmoid for each label) of scores times the factor with the least log
    loss out of fold.
    """

    def fit(self, X: Any, y: Any) -> RidgeClassifier:
        """Fit to [n, dim] rows and [n] classes, or [n, labels] of 0 and 1."""
        X, y = validate_data(self, X, y, multi_output=True)
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self.multilabel_ = y.ndim == 2
        if self.multilabel_:
            self.classes_ = np.arange(y.shape[1])
            targets = Targets(np.asarray(y, np.float64))
        else:
            self.classes_, numbers = np.unique(y, return_inverse=True)
            if len(self.classes_) < 2:
                raise ValueError("Classifier can't train when only one class is present.")
            targets = Targets(numbers, len(self.classes_))
        scores = self._fit(X, targets)
        few = scores is None
        if scores is None:
            scores = self._scores(X)
        some = np.random.default_rng(self.seed).permutation(len(scores))[:_SCALE_ROWS]
        self.scale_ = 1.0 if few else fit_scale(scores[some], targets.y[some])
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return scores [n, classes], or [n] where there are two classes."""
        scores = self._scores(X)
        if len(self.classes_) == 2 and not self.multilabel_:
            return np.asarray(scores[:, 1] - scores[:, 0])
        return scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities [n, classes]; of labels each on its own."""
        return probabilities(self._scores(X), self.scale_, self.multilabel_)

    def predict(self, X: Any) -> np.ndarray:
        """Return classes [n], or 0 and 1 of labels [n, labels]."""
        scores = self._scores(X)
        if self.multilabel_:
            return (scores > 0.5).astype(np.int64)
        found: np.ndarray = self.classes_[scores.argmax(axis=1)]
        return found


class RidgeRegressor(RegressorMixin, _Ridge):  # type: ignore[misc]
    """Ridge regression, its strength chosen by five folds."""

    def fit(self, X: Any, y: Any) -> RidgeRegressor:
        """Fit to [n, dim] rows and [n] or [n, targets] numbers."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True)
        self.single_ = y.ndim == 1
        self._fit(X, Targets(np.asarray(y.reshape(len(y), -1), np.float64)))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return numbers of the shape that `fit` was given."""
        scores = self._scores(X)
        return scores[:, 0] if self.single_ else scores

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def make(kind: str, balanced: bool, seed: int, rows: int) -> RidgeClassifier | RidgeRegressor:
    """Return the estimator of a kind of target."""
    if kind == "numbers":
        return RidgeRegressor(seed=seed)
    return RidgeClassifier(balanced=balanced, seed=seed)


def nodes(model: RidgeClassifier | RidgeRegressor, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph."""
    if isinstance(model, RidgeRegressor):
        return graph.dense(x, model.coef_, model.intercept_)
    if model.multilabel_:
        return graph.sigmoid(graph.dense(x, model.coef_ * model.scale_, (model.intercept_ - 0.5) * model.scale_))
    return graph.softmax(graph.dense(x, model.coef_ * model.scale_, model.intercept_ * model.scale_))
