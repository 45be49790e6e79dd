"""Heads for more rows than fit into memory: ridge and discriminants from two passes, logistic regression from more."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from fxengine.errors import InputError
from fxengine.heads import Kind, lda, ridge
from fxengine.heads.calibration import fit_scale, probabilities
from fxengine.heads.classes import balanced_weights
from fxengine.heads.closed_form import STRENGTHS, Targets, cross_validate, out_of_fold
from fxengine.heads.evaluate import Problem
from fxengine.heads.logistic import STRENGTH
from fxengine.heads.ridge import RidgeClassifier, RidgeRegressor
from fxengine.heads.statistics import Blocks, collect, eigh

_HEADS: dict[Kind, tuple[str, ...]] = {
    "classes": ("ridge", "lda", "logistic"),
    "labels": ("ridge",),
    "numbers": ("ridge",),
}
_SCALE_ROWS = 20_000
_ITERATIONS = 40
_ROWS = 4096


def heads_for(kind: Kind) -> tuple[str, ...]:
    """Return the heads that rows in streams can have, the quickest first."""
    return _HEADS[kind]


def fit(
    name: str, blocks: Blocks, problem: Problem, fold: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> tuple[Any, np.ndarray]:
    """Return the fitted estimator, and the answers of every row by one of the other folds, float32 [n, outputs].

    Args:
        name: one of `heads_for(problem.kind)`.
        blocks: the rows, of length 1.
        problem: what is to be predicted.
        fold: int [n], from `assign_folds`.
        balanced: whether every class counts as much, whatever its rows.
        seed: of the rows that fix the scale of probabilities.

    Raises:
        InputError: there is no such head for rows in streams.
    """
    there = heads_for(problem.kind)
    if name not in there:
        choice = " or ".join(there)
        raise InputError(f"The head {name!r} needs all vectors in memory, and they do not fit. Take {choice}.")
    classes = len(problem.names) if problem.kind == "classes" else 0
    weights = balanced_weights(problem.y, classes) if balanced and classes else None
    if name == "logistic":
        return _logistic(blocks, problem.y, classes, fold, weights)
    solve = ridge.solve if name == "ridge" else lda.solve
    found = cross_validate(solve, blocks, Targets(problem.y, classes), fold, weights=weights)
    scores = out_of_fold(blocks, found, fold)
    coef, bias = found.whole.weights[found.best], found.whole.bias[found.best]
    if problem.kind == "numbers":
        return _fill(RidgeRegressor(), coef, bias, strength_=STRENGTHS[found.best], single_=False), scores
    some = np.random.default_rng(seed).permutation(len(scores))[:_SCALE_ROWS]
    scale, labels = fit_scale(scores[some], problem.y[some]), problem.kind == "labels"
    answers = _probabilities(scores, scale, labels)
    if name == "lda":
        return _linear(LinearDiscriminantAnalysis(), coef * scale, bias * scale), answers
    facts = {"strength_": STRENGTHS[found.best], "classes_": np.arange(len(coef)), "multilabel_": labels}
    return _fill(RidgeClassifier(), coef, bias, scale_=scale, **facts), answers


def _linear(model: Any, coef: np.ndarray, bias: np.ndarray) -> Any:
    """Return scikit-learn's estimator with these weights [classes, dim]; of two classes it keeps their difference."""
    classes = np.arange(len(coef))
    if len(coef) == 2:
        coef, bias = coef[1:] - coef[:1], bias[1:] - bias[:1]
    return _fill(model, coef, bias, classes_=classes)


def _fill(model: Any, coef: np.ndarray, bias: np.ndarray, **fitted: object) -> Any:
    for name, value in {"coef_": coef, "intercept_": bias, "n_features_in_": coef.shape[1], **fitted}.items():
        setattr(model, name, value)
    return model


def _probabilities(scores: np.ndarray, scale: float, labels: bool) -> np.ndarray:
    """Turn scores into probabilities, in place: they are the largest thing in memory."""
    for start in range(0, len(scores), _ROWS):
        rows = slice(start, start + _ROWS)
        scores[rows] = probabilities(scores[rows], scale, labels)
    return scores


def _logistic(
    blocks: Blocks, y: np.ndarray, classes: int, fold: np.ndarray, weights: np.ndarray | None
) -> tuple[Any, np.ndarray]:
    """Fit the whole and every fold; each begins at the discriminants of its own rows."""
    weights = np.ones(len(y)) if weights is None else weights
    scores = np.empty((len(fold), classes), np.float32)
    for number in range(int(fold.max()) + 1):
        coef, bias = _minimise(blocks, y, classes, weights * (fold != number))
        for x, at in blocks():
            mine = fold[at] == number
            scores[at[mine]] = x[mine] @ coef.T.astype(np.float32) + bias.astype(np.float32)
    coef, bias = _minimise(blocks, y, classes, weights)
    return _linear(LogisticRegression(), coef, bias), _probabilities(scores, 1.0, labels=False)


def _minimise(blocks: Blocks, y: np.ndarray, classes: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [classes, dim] and bias [classes] that minimise scikit-learn's objective at C = STRENGTH.

    L-BFGS from the ridge solution, in coordinates in which the scatter matrix, a bound of the Hessian (Boehning 1992),
    is the identity.
    """
    moments = collect(blocks, Targets(y, classes).matrix(), weights=weights).without(None).centred()
    total, penalty = moments.weight, 1 / (STRENGTH * moments.weight)
    values, vectors = eigh(moments.scatter / total)
    curvature = np.sqrt(np.maximum(values, 0) / 4 + penalty)
    to_weights, from_weights = (vectors / curvature).T, vectors * curvature
    start = ridge.solve(moments, [1.0])
    x, at = next(iter(blocks()))
    mine = weights[at] > 0
    first = start.weights[0] * fit_scale(start.scores(x[mine])[:, 0], y[at[mine]])
    logs = np.log(np.maximum(moments.target_mean, 1 / total))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        inner, bias = flat[:-classes].reshape(classes, -1), flat[-classes:]
        coef = inner @ to_weights
        value = 0.5 * penalty * float((coef * coef).sum())
        by_coef, by_bias = penalty * coef, np.zeros(classes)
        shift = (bias - coef @ moments.mean).astype(np.float32)
        for x, at in blocks():
            p = probabilities(x @ coef.T.astype(np.float32) + shift, 1.0)
            rows, w = np.arange(len(at)), (weights[at] / total).astype(np.float32)
            value -= float((w * np.log(np.maximum(p[rows, y[at]], 1e-30))).sum(dtype=np.float64))
            p[rows, y[at]] -= 1
            p *= w[:, None]
            by_bias += p.sum(axis=0, dtype=np.float64)
            by_coef += p.T @ x
        by_coef -= np.outer(by_bias, moments.mean)
        return value, np.concatenate([(by_coef @ to_weights.T).ravel(), by_bias])

    begin = np.concatenate([(first @ from_weights).ravel(), logs])
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS, "gtol": 1e-6}).x
    coef = found[:-classes].reshape(classes, -1) @ to_weights
    return coef, found[-classes:] - coef @ moments.mean
