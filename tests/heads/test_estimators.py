from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.utils.estimator_checks import check_estimator

from fxengine.features.moments import collect
from fxengine.heads import make_head, mlp
from fxengine.heads.classes import balanced_weights, deal_folds
from fxengine.heads.evaluate.calibration import expected_calibration_error, fit_scale, probabilities
from fxengine.heads.mlp import MlpClassifier, MlpRegressor
from fxengine.heads.ridge import RidgeClassifier, RidgeRegressor, solve
from fxengine.heads.streams.closed_form import Targets, cross_validate, held_out_errors, scores_out_of_fold
from fxengine.heads.svm import LinearSvm
from tests.features.test_moments import blocks_of
from tests.heads.test_contract import blobs


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [RidgeClassifier(), RidgeRegressor(), LinearSvm(), MlpClassifier(), MlpRegressor()],
    ids=lambda e: type(e).__name__,
)
def test_scikit_learns_own_checks(estimator: BaseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "_STEPS", 200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(estimator)


def test_ridge_solves_as_scikit_learn() -> None:
    x, y = blobs(3)
    targets = np.eye(3)[y]
    w = np.random.default_rng(0).uniform(0.5, 2, len(x))
    moments = collect(blocks_of(x, 50), targets, weights=w).without(None).centred()
    for strength in (0.1, 1.0, 30.0):
        fitted, reference = solve(moments, strength), Ridge(alpha=strength).fit(x, targets, sample_weight=w)
        np.testing.assert_allclose(fitted.weights, reference.coef_, atol=1e-5)
        np.testing.assert_allclose(fitted.bias, reference.intercept_, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_strengths_and_scores_out_of_fold_are_scikit_learns_of_each_fold(weighted: bool) -> None:
    x, y = blobs(3, rows=30)
    fold = deal_folds(y, len(y), 4, seed=1)
    w = np.random.default_rng(0).uniform(0.5, 2, len(x)) if weighted else np.ones(len(x))
    strengths, targets = [0.01, 1.0, 30.0, 1000.0], np.eye(3)[y]
    errors, scores = np.zeros((4, 4)), np.empty((4, len(y), 3))
    for number in range(4):
        train = fold != number
        for i, strength in enumerate(strengths):
            judge = Ridge(alpha=strength).fit(x[train], targets[train], sample_weight=w[train])
            scores[i][~train] = judge.predict(x[~train])
            errors[number, i] = w[~train] @ np.square(scores[i][~train] - targets[~train]).sum(axis=1)
    statistics = collect(blocks_of(x, 40), targets, fold, 4, w)
    squares = np.array([w[fold == n].sum() for n in range(4)])[:, None]  # of the targets
    found = [held_out_errors(statistics.without(n).centred(), statistics.only(n), strengths) for n in range(4)]
    np.testing.assert_allclose(found + squares, errors, rtol=1e-4)
    best = (errors.sum(axis=0) - errors).argmin(axis=1)
    folds = cross_validate(solve, blocks_of(x, 40), Targets(y, 3), fold, strengths, w)
    assert folds.strength == strengths[errors.sum(axis=0).argmin()]
    expected = np.stack([scores[best[number], row] for row, number in enumerate(fold)])
    np.testing.assert_allclose(scores_out_of_fold(blocks_of(x, 7), folds, fold), expected, atol=1e-4)


@pytest.mark.parametrize("dim", [12, 200])
def test_the_ridge_classifier_predicts_as_scikit_learns_at_its_strength(dim: int) -> None:
    x, y = blobs(4, rows=15, dim=dim)
    model = RidgeClassifier().fit(x, y)
    reference = RidgeClassifierCV(alphas=[model.strength_]).fit(x, y)
    np.testing.assert_allclose(2 * model.decision_function(x) - 1, reference.decision_function(x), atol=1e-3)


def test_balanced_rows_weigh_as_scikit_learn_weighs_them() -> None:
    x, y = blobs(3)
    keep = (y > 0) | (np.arange(len(y)) < 30)
    x, y = x[keep], y[keep]
    model = RidgeClassifier(balanced=True).fit(x, y)
    reference = Ridge(alpha=model.strength_).fit(x, np.eye(3)[y], sample_weight=balanced_weights(y, 3))
    np.testing.assert_allclose(model.coef_, reference.coef_, atol=1e-4)


def test_the_mlp_without_dropout_does_as_well_as_scikit_learns() -> None:
    x, y = blobs(5, rows=60, dim=8)
    train, test = np.arange(len(y)) % 3 > 0, np.arange(len(y)) % 3 == 0
    ours = MlpClassifier(hidden=(32, 16), dropout=0.0).fit(x[train], y[train]).score(x[test], y[test])
    theirs = MLPClassifier((32, 16), max_iter=400, random_state=0).fit(x[train], y[train]).score(x[test], y[test])
    assert ours > theirs - 0.05


def test_the_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=s) for s in ((4, 5), (5,), (5, 3), (3,))]
    x, y, w = rng.normal(size=(6, 4)), np.eye(3)[rng.integers(0, 3, 6)], rng.uniform(0.5, 2, 6)

    def loss() -> float:
        output = np.maximum(x @ layers[0] + layers[1], 0) @ layers[2] + layers[3]
        logs = output - np.log(np.exp(output).sum(axis=1, keepdims=True))
        return float(-(w * (logs * y).sum(axis=1)).mean())

    gradients = mlp._gradients(layers, mlp._Rows(x, y, w), "softmax", 0.0, rng)
    for value, gradient in zip(layers, gradients, strict=True):
        at = tuple(0 for _ in value.shape)
        value[at] += 1e-5
        above = loss()
        value[at] -= 2e-5
        below = loss()
        value[at] += 1e-5
        assert gradient[at] == pytest.approx((above - below) / 2e-5, abs=1e-4)


def test_the_scale_minimises_the_log_loss() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 3000)
    scores = np.eye(3)[y] * 0.3 + rng.normal(0, 0.3, (3000, 3))
    best = fit_scale(scores, y)
    losses = [log_loss(y, probabilities(scores, best * f)) for f in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_the_calibration_error_is_that_of_its_definition() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert expected_calibration_error(p, np.array([0, 1, 0, 1])) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_logistic_is_scikit_learns_on_rows_of_length_1() -> None:
    x, y = blobs(3)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    reference = LogisticRegression(C=100.0, max_iter=1000).fit(unit, y)
    np.testing.assert_allclose(
        make_head("logistic").fit(x, y).predict_proba(x), reference.predict_proba(unit), atol=1e-4
    )


def test_ridge_far_from_zero_is_ridge_about_it() -> None:
    x, _ = blobs(3)
    near, far = RidgeRegressor().fit(x, x[:, 0] * 2), RidgeRegressor().fit(x + np.float32(1e4), x[:, 0] * 2)
    assert far.strength_ == near.strength_
    np.testing.assert_allclose(far.predict(x + np.float32(1e4)), near.predict(x), atol=2e-2)
