"""Ridge regression to one-hot targets: one eigendecomposition of the scatter matrix serves every strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fxengine.features.moments import Block, Blocks, Centred, collect
from fxengine.heads.classes import balanced_weights, deal_folds
from fxengine.heads.estimator import HeadSettings, Kind
from fxengine.heads.evaluate.calibration import fit_scale, probabilities
from fxengine.heads.graph import HeadGraph
from fxengine.heads.streams.closed_form import STRENGTHS, Linear, Targets, cross_validate, scores_out_of_fold

KINDS: tuple[Kind, ...] = ("classes", "labels", "numbers")
_FOLDS = 5


def solve(moments: Centred, strength: float) -> Linear:
    """Return argmin sum w |y - Wx - b|^2 + strength |W|^2, the bias unpenalised."""
    values, vectors = moments.spectrum
    weights = (moments.cross @ vectors / (values + strength)) @ vectors.T
    return Linear(weights, moments.target_mean - weights @ moments.mean)


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
        blocks: Blocks = lambda: iter([Block(z.copy(), np.arange(n))])  # noqa: E731
        weights = balanced_weights(targets.y, targets.classes) if self.balanced and targets.classes else None
        fold = deal_folds(targets.y if targets.classes else None, n, min(_FOLDS, n), self.seed)
        if n < 2 * _FOLDS:
            moments = collect(blocks, targets.matrix(), weights=weights).without(None).centred()
            self.strength_ = self.strengths[len(self.strengths) // 2]
            model, scores = solve(moments, self.strength_), None
        else:
            found = cross_validate(solve, blocks, targets, fold, self.strengths, weights)
            self.strength_ = found.strength
            model, scores = found.whole, scores_out_of_fold(blocks, found, fold)
        self.coef_ = model.weights if rotation is None else model.weights @ rotation
        self.intercept_ = model.bias - self.coef_ @ mean
        return scores

    def _scores(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, X, reset=False)
        result: np.ndarray = x @ self.coef_.T + self.intercept_
        return result


class RidgeClassifier(ClassifierMixin, _Ridge):  # type: ignore[misc]
    """Ridge regression to one-hot classes, or to 0 and 1 of several labels, its strength chosen by five folds.

    Args:
        strengths: of which the one with the least squared error out of fold is taken.
        balanced: whether every class counts as much, whatever its rows; of labels it changes nothing.
        seed: of the folds.

    Scores become probabilities by a softmax (a sigmoid for each label) of scores times the factor with the least log
    loss out of fold.
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> RidgeClassifier:
        """Fit to [n, dim] rows and [n] classes, or [n, labels] of 0 and 1.

        Raises:
            ValueError: there is one class only, or scikit-learn cannot take the arrays.
        """
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
        self.scale_ = 1.0 if few else fit_scale(scores, targets.y, self.seed)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return scores [n, classes], or [n] where there are two classes."""
        scores = self._scores(X)
        if len(self.classes_) == 2 and not self.multilabel_:
            return np.asarray(scores[:, 1] - scores[:, 0])
        return scores

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities [n, classes]; of labels each on its own."""
        return probabilities(self._scores(X), self.scale_, self.multilabel_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return classes [n], or 0 and 1 of labels [n, labels]."""
        scores = self._scores(X)
        if self.multilabel_:
            return (scores > 0.5).astype(np.int64)
        found: np.ndarray = self.classes_[scores.argmax(axis=1)]
        return found


class RidgeRegressor(RegressorMixin, _Ridge):  # type: ignore[misc]
    """Ridge regression, its strength chosen by five folds."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> RidgeRegressor:
        """Fit to [n, dim] rows and [n] or [n, targets] numbers."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True)
        self.single_ = y.ndim == 1
        self._fit(X, Targets(np.asarray(y.reshape(len(y), -1), np.float64)))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return numbers of the shape that `fit` was given."""
        scores = self._scores(X)
        return scores[:, 0] if self.single_ else scores

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def make(kind: Kind, settings: HeadSettings, rows: int) -> RidgeClassifier | RidgeRegressor:
    """Return the estimator of a kind of target."""
    if kind == "numbers":
        return RidgeRegressor(seed=settings.seed)
    return RidgeClassifier(balanced=settings.balanced, seed=settings.seed)


def nodes(model: RidgeClassifier | RidgeRegressor, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph."""
    if isinstance(model, RidgeRegressor):
        return graph.dense(x, model.coef_, model.intercept_)
    if model.multilabel_:
        return graph.sigmoid(graph.dense(x, model.coef_ * model.scale_, (model.intercept_ - 0.5) * model.scale_))
    return graph.softmax(graph.dense(x, model.coef_ * model.scale_, model.intercept_ * model.scale_))
