from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fxengine.errors import InputError
from fxengine.features.moments import collect
from fxengine.heads import lda, logistic
from fxengine.heads.evaluate import answers
from fxengine.heads.evaluate.answers import Answers, TopAnswers, drawn_from, taken
from fxengine.heads.evaluate.calibration import expected_calibration_error
from fxengine.heads.evaluate.scores import Problem, all_scores, assign_folds, deciding_score
from fxengine.heads.ridge import RidgeClassifier
from fxengine.heads.streams import softmax as softmax_rows
from fxengine.heads.streams import streamed
from fxengine.heads.streams.closed_form import Targets
from tests.features.test_moments import blocks_of
from tests.heads.test_contract import blobs


def normalised(classes: int) -> tuple[np.ndarray, Problem]:
    x, y = blobs(classes, rows=60)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x, Problem("classes", tuple(map(str, range(classes))), y, np.arange(len(y)))


def test_ridge_in_streams_is_ridge_in_memory() -> None:
    x, problem = normalised(4)
    fold = assign_folds(problem, 5, 0)
    fitted = streamed.fit("ridge", blocks_of(x, 100, 17), problem, fold)
    model, found = fitted.estimator, fitted.answers
    assert isinstance(found, np.ndarray)
    assert isinstance(model, RidgeClassifier)
    memory = RidgeClassifier(strengths=[model.strength_]).fit(x, problem.y)
    np.testing.assert_allclose(model.coef_, memory.coef_, atol=1e-4)
    held = fold == 2
    alone = RidgeClassifier(strengths=[model.strength_]).fit(x[~held], problem.y[~held])
    agree = (found[held].argmax(1) == alone.predict(x[held])).mean()
    assert agree > 0.95  # the fold may have chosen another strength


def unequal_classes(classes: int = 3) -> tuple[np.ndarray, Problem, np.ndarray]:
    x, problem = normalised(classes)
    keep = (problem.y > 0) | (np.arange(len(x)) // classes % 2 == 0)
    x, problem = x[keep], problem.take(keep)
    return x, problem, assign_folds(problem, 3, 0)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_logistic_in_streams_is_scikit_learns(balanced: bool, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_rows, "_ENOUGH", 0.0)
    x, problem, fold = unequal_classes(classes)
    fitted = streamed.fit("logistic", blocks_of(x, 31), problem, fold, balanced=balanced)
    model, found = fitted.estimator, fitted.answers
    assert isinstance(found, np.ndarray)
    assert isinstance(model, LogisticRegression)
    weight = "balanced" if balanced else None

    def reference(rows: np.ndarray) -> LogisticRegression:
        made = LogisticRegression(C=model.C, max_iter=5000, tol=1e-8, class_weight=weight)
        return made.fit(x[rows], problem.y[rows])

    everything = np.ones(len(x), bool)
    np.testing.assert_allclose(model.predict_proba(x), reference(everything).predict_proba(x), atol=2e-3)
    if not balanced:  # whose weights would be others without the fold
        for number in range(3):
            expected = reference(fold != number).predict_proba(x[fold == number])
            np.testing.assert_allclose(found[fold == number], expected, atol=2e-3)


def test_the_strength_has_the_least_log_loss_on_the_first_folds_rows() -> None:
    x, problem, fold = unequal_classes()
    model = streamed.fit("logistic", blocks_of(x, 31), problem, fold).estimator
    assert isinstance(model, LogisticRegression)
    train, held = fold != 0, fold == 0
    loss = {}
    for c in logistic.STRENGTHS:
        reference = LogisticRegression(C=c, max_iter=5000).fit(x[train], problem.y[train])
        loss[c] = log_loss(problem.y[held], reference.predict_proba(x[held]))
    assert loss[model.C] == min(loss.values())


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

    found = lda.solve(collect(blocks_of(x, 31), Targets(problem.y, 4).matrix()).without(None).centred(), 10.0)
    reference = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk()).fit(x, problem.y)
    scores = x @ found.weights.T + found.bias
    np.testing.assert_allclose(softmax(scores, axis=1), reference.predict_proba(x), atol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_discriminants_in_streams_answer_out_of_fold_as_their_own_model_does(classes: int) -> None:
    x, problem = normalised(classes)
    fold = assign_folds(problem, 5, 0)
    fitted = streamed.fit("lda", blocks_of(x, 50), problem, fold)
    model, found = fitted.estimator, fitted.answers
    assert isinstance(found, np.ndarray)
    assert isinstance(model, LinearDiscriminantAnalysis)
    assert (found.argmax(1) == problem.y).mean() > 0.9
    # Probabilities: neither unsure of what is right, nor sure of what is wrong.
    assert expected_calibration_error(found, problem.y) < 0.05
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1, atol=1e-6)
    assert (model.predict(x) == found.argmax(1)).mean() > 0.95


@pytest.mark.parametrize("name", ["ridge", "lda", "logistic"])
@pytest.mark.parametrize("calibrated", [False, True])
def test_where_not_all_answers_are_held_they_are_the_same(
    name: str, calibrated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, problem = normalised(7)
    fold = assign_folds(problem, 4, 0)

    def fitted() -> Answers:
        return streamed.fit(name, blocks_of(x, 50), problem, fold, calibrated=calibrated).answers

    whole = fitted()
    monkeypatch.setattr(answers, "WHOLE", 7 * 100)
    few = fitted()
    assert isinstance(whole, np.ndarray)
    assert isinstance(few, TopAnswers)
    assert few.drawn.shape == (100, 7)
    np.testing.assert_array_equal(few.p, -np.sort(-whole, axis=1)[:, :5])
    np.testing.assert_array_equal(few.classes[:, 0], whole.argmax(axis=1))
    rows, drawn = drawn_from(few)
    np.testing.assert_array_equal(drawn, whole[rows])
    one, other = all_scores(problem, whole), all_scores(problem, few)
    assert one.pop("auc") == pytest.approx(other.pop("auc"), abs=0.05)  # of other rows
    assert one == other
    some = np.arange(0, len(x), 3)
    assert deciding_score(problem.take(some), taken(few, some)) == deciding_score(problem.take(some), whole[some])
    np.testing.assert_array_equal(drawn_from(taken(few, some))[1], whole[some][np.isin(some, rows)])
