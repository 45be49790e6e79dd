"""A linear support vector machine by scikit-learn, with probabilities."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import LinearSVC
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fxengine.heads.classes import deal_folds
from fxengine.heads.estimator import HeadSettings, Kind
from fxengine.heads.evaluate.calibration import fit_scale, probabilities
from fxengine.heads.graph import HeadGraph

KINDS: tuple[Kind, ...] = ("classes",)
_FOLDS = 3


class LinearSvm(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """LinearSVC, one class against the rest, whose scores become probabilities by a softmax.

    The scores are multiplied by the factor with the least log loss over three folds.

    Args:
        C: inverse strength of the regularisation, as in scikit-learn.
        balanced: whether every class counts as much, whatever its rows.
        seed: of folds and solver.
    """

    def __init__(self, C: float = 1.0, balanced: bool = False, seed: int = 0) -> None:
        self.C = C
        self.balanced = balanced
        self.seed = seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> LinearSvm:
        """Fit to [n, dim] rows and [n] classes.

        Raises:
            ValueError: there is one class only, or scikit-learn cannot take the arrays.
        """
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        fold = deal_folds(numbers, len(y), _FOLDS, self.seed)
        scores = np.full((len(y), len(self.classes_)), -1.0)
        for number in range(_FOLDS):
            train, test = fold != number, fold == number
            if test.any() and len(np.unique(numbers[train])) > 1:
                scores[test] = self._scores(self._svc().fit(X[train], numbers[train]), X[test])
        self.scale_ = fit_scale(scores, numbers)
        self.svc_ = self._svc().fit(X, numbers)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return distances [n, classes], or [n] where there are two classes."""
        check_is_fitted(self)
        found: np.ndarray = self.svc_.decision_function(validate_data(self, X, reset=False))
        return found

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities [n, classes]."""
        check_is_fitted(self)
        return probabilities(self._scores(self.svc_, validate_data(self, X, reset=False)), self.scale_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return classes [n]."""
        check_is_fitted(self)
        found: np.ndarray = self.classes_[self.svc_.predict(validate_data(self, X, reset=False))]
        return found

    def _svc(self) -> LinearSVC:
        return LinearSVC(
            C=self.C, class_weight="balanced" if self.balanced else None, random_state=self.seed, max_iter=5000
        )

    def _scores(self, svc: LinearSVC, x: np.ndarray) -> np.ndarray:
        """Return scores [n, classes]; a class that `svc` has not seen gets -1, a safe no."""
        found = svc.decision_function(x)
        if found.ndim == 1:
            found = np.stack([-found, found], axis=1)
        scores = np.full((len(x), len(self.classes_)), -1.0)
        scores[:, svc.classes_] = found
        return scores


def make(kind: Kind, settings: HeadSettings, rows: int) -> LinearSvm:
    """Return the estimator."""
    return LinearSvm(balanced=settings.balanced, seed=settings.seed)


def nodes(model: LinearSvm, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph."""
    coef, intercept = model.svc_.coef_, model.svc_.intercept_
    if len(coef) == 1:
        coef, intercept = np.vstack([-coef, coef]), np.concatenate([-intercept, intercept])
    return graph.softmax(graph.dense(x, coef * model.scale_, intercept * model.scale_))
