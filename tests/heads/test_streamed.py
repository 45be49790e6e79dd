from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from fxengine.errors import InputError
from fxengine.heads import lda, streamed
from fxengine.heads.calibration import expected_calibration_error
from fxengine.heads.closed_form import Targets
from fxengine.heads.evaluate import Problem, assign_folds
from fxengine.heads.ridge import RidgeClassifier
from fxengine.heads.statistics import collect
from tests.heads.test_contract import blobs
from tests.heads.test_statistics import blocks_of


def normalised(classes: int) -> tuple[np.ndarray, Problem]:
    x, y = blobs(classes, rows=60)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x, Problem("classes", tuple(map(str, range(classes))), y, np.arange(len(y)))


def test_ridge_in_streams_is_ridge_in_memory() -> None:
    x, problem = normalised(4)
    fold = assign_folds(problem, 5, 0)
    model, found = streamed.fit("ridge", blocks_of(x, 100, 17), problem, fold)
    memory = RidgeClassifier(strengths=[model.strength_]).fit(x, problem.y)
    np.testing.assert_allclose(model.coef_, memory.coef_, atol=1e-4)
    held = fold == 2
    alone = RidgeClassifier(strengths=[model.strength_]).fit(x[~held], problem.y[~held])
    agree = (found[held].argmax(1) == alone.predict(x[held])).mean()
    assert agree > 0.98  # the fold may have chosen another strength


@pytest.mark.parametrize("balanced", [False, True])
def test_logistic_in_streams_is_scikit_learns(balanced: bool) -> None:
    x, problem = normalised(3)
    keep = (problem.y > 0) | (np.arange(len(x)) % 2 == 0)
    x, problem = x[keep], problem.take(keep)
    fold = assign_folds(problem, 3, 0)
    model, found = streamed.fit("logistic", blocks_of(x, 31), problem, fold, balanced=balanced)
    weight = "balanced" if balanced else None

    def reference(rows: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=100.0, max_iter=5000, tol=1e-8, class_weight=weight).fit(x[rows], problem.y[rows])

    everything = np.ones(len(x), bool)
    np.testing.assert_allclose(model.predict_proba(x), reference(everything).predict_proba(x), atol=2e-3)
    if not balanced:
        for number in range(3):
            expected = reference(fold != number).predict_proba(x[fold == number])
            np.testing.assert_allclose(found[fold == number], expected, atol=2e-3)


def test_other_heads_need_memory() -> None:
    x, problem = normalised(3)
    with pytest.raises(InputError, match=r"'mlp' needs all vectors in memory.*ridge or lda or logistic"):
        streamed.fit("mlp", blocks_of(x), problem, assign_folds(problem, 3, 0))


def test_discriminants_in_streams_are_scikit_learns() -> None:
    x, problem = normalised(4)
    keep = (problem.y > 0) | (np.arange(len(x)) % 3 == 0)  # so that the shares matter
    x, problem = x[keep], problem.take(keep)
    n = len(x)

    class Shrunk(EmpiricalCovariance):  # type: ignore[misc]  # scikit-learn averages it over the classes, by their shares
        def fit(self, rows: np.ndarray, y: None = None) -> Shrunk:
            super().fit(rows)
            self.covariance_: np.ndarray = self.covariance_ + 10.0 / n * np.eye(rows.shape[1])
            return self

    found = lda.solve(collect(blocks_of(x, 31), Targets(problem.y, 4).matrix()).without(None).centred(), [0.1, 10.0])
    reference = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk()).fit(x, problem.y)
    scores = found.scores(x)[:, 1]
    np.testing.assert_allclose(softmax(scores, axis=1), reference.predict_proba(x), atol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_discriminants_in_streams_answer_out_of_fold_as_their_own_model_does(classes: int) -> None:
    x, problem = normalised(classes)
    fold = assign_folds(problem, 5, 0)
    model, found = streamed.fit("lda", blocks_of(x, 50), problem, fold)
    assert isinstance(model, LinearDiscriminantAnalysis)
    assert (found.argmax(1) == problem.y).mean() > 0.9
    # Probabilities: neither unsure of what is right, nor sure of what is wrong.
    assert expected_calibration_error(found, problem.y) < 0.05
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1, atol=1e-6)
    assert (model.predict(x) == found.argmax(1)).mean() > 0.95
