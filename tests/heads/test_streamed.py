from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fxengine.errors import InputError
from fxengine.heads import streamed
from fxengine.heads.evaluate import Problem, assign_folds
from fxengine.heads.ridge import RidgeClassifier
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
    with pytest.raises(InputError, match=r"'mlp' needs all vectors in memory.*ridge or logistic"):
        streamed.fit("mlp", blocks_of(x), problem, assign_folds(problem, 3, 0))
