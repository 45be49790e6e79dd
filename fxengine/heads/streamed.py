"""Heads for more rows than fit into memory: ridge from two passes, logistic regression from some more."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from fxengine.errors import InputError
from fxengine.heads import ridge
from fxengine.heads.calibration import fit_scale, probabilities
from fxengine.heads.classes import balanced_weights
from fxengine.heads.evaluate import Problem
from fxengine.heads.logistic import STRENGTH
from fxengine.heads.ridge import RidgeClassifier, RidgeRegressor, Targets
from fxengine.heads.statistics import Blocks, collect, eigh

HEADS = ("ridge", "logistic")
_SCALE_ROWS = 20_000
_ITERATIONS = 40
_ROWS = 4096

Model = RidgeClassifier | RidgeRegressor


def fit(
    name: str, blocks: Blocks, problem: Problem, fold: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> tuple[Model, np.ndarray]:
    """Return the fitted model, and the answers of every row by the model of the other folds, float32 [n, outputs].

    Args:
        name: "ridge" or "logistic".
        blocks: the rows, of length 1.
        problem: what is to be predicted.
        fold: int [n], from `assign_folds`.
        balanced: whether every class counts as much, whatever its rows.
        seed: of the rows that fix the scale of probabilities.

    Raises:
        InputError: there is no such head for rows in streams.
    """
    if name not in HEADS or (name == "logistic" and problem.kind != "classes"):
        raise InputError(
            f"The head {name!r} needs all vectors in memory, and they do not fit. Take ridge"
            f"{' or logistic' if problem.kind == 'classes' else ''}, or fewer rows."
        )
    model, found = _ridge(blocks, problem, fold, balanced, seed)
    if name == "ridge" or isinstance(model, RidgeRegressor):
        return model, found
    return _logistic(model, blocks, problem, fold, balanced)


def _ridge(blocks: Blocks, problem: Problem, fold: np.ndarray, balanced: bool, seed: int) -> tuple[Model, np.ndarray]:
    classes = len(problem.names) if problem.kind == "classes" else 0
    targets = Targets(problem.y, classes)
    weights = balanced_weights(problem.y, classes) if balanced and classes else None
    found = ridge.cross_validate(blocks, targets, fold, weights=weights)
    scores = ridge.out_of_fold(blocks, found, fold)
    model: Model = RidgeRegressor(seed=seed) if problem.kind == "numbers" else RidgeClassifier(seed=seed)
    model.strength_ = model.strengths[found.best]
    model.coef_, model.intercept_ = found.whole.weights[found.best], found.whole.bias[found.best]
    model.n_features_in_ = model.coef_.shape[1]
    if isinstance(model, RidgeRegressor):
        model.single_ = False
        return model, scores
    model.classes_, model.multilabel_ = np.arange(len(problem.names)), problem.kind == "labels"
    some = np.random.default_rng(seed).permutation(len(scores))[:_SCALE_ROWS]
    model.scale_ = fit_scale(scores[some], problem.y[some])
    return model, _probabilities(scores, model)


def _probabilities(scores: np.ndarray, model: RidgeClassifier) -> np.ndarray:
    """Turn scores into probabilities, in place: they are the largest thing in memory."""
    for start in range(0, len(scores), _ROWS):
        rows = slice(start, start + _ROWS)
        scores[rows] = probabilities(scores[rows], model.scale_, model.multilabel_)
    return scores


def _logistic(
    start: RidgeClassifier, blocks: Blocks, problem: Problem, fold: np.ndarray, balanced: bool
) -> tuple[Model, np.ndarray]:
    """Fit the whole and every fold; each begins at the ridge solution of its own rows."""
    classes = len(problem.names)
    weights = balanced_weights(problem.y, classes) if balanced else np.ones(len(problem.y))
    scores = np.empty((len(fold), classes), np.float32)
    for number in [*range(int(fold.max()) + 1), None]:
        use = weights * (fold != number) if number is not None else weights
        coef, bias = _minimise(blocks, problem.y, classes, use, start)
        if number is None:
            break
        for x, at in blocks():
            mine = fold[at] == number
            scores[at[mine]] = x[mine] @ coef.T.astype(np.float32) + bias.astype(np.float32)
    start.coef_, start.intercept_, start.scale_ = coef, bias, 1.0
    return start, _probabilities(scores, start)


def _minimise(
    blocks: Blocks, y: np.ndarray, classes: int, weights: np.ndarray, like: Model
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [classes, dim] and bias [classes] that minimise scikit-learn's objective at C = STRENGTH.

    L-BFGS in coordinates in which the scatter matrix, a bound of the Hessian (Boehning 1992), is the identity.
    """
    moments = collect(blocks, ridge.Targets(y, classes).matrix(), weights=weights).without(None).centred()
    total, penalty = moments.weight, 1 / (STRENGTH * moments.weight)
    values, vectors = eigh(moments.scatter / total)
    curvature = np.sqrt(np.maximum(values, 0) / 4 + penalty)
    to_weights, from_weights = (vectors / curvature).T, vectors * curvature
    first = ridge.solve(moments, [like.strength_]).weights[0] * like.scale_
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
