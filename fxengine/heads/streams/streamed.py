"""Heads for more rows than fit into memory: ridge and lda from three passes, logistic regression from more."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from fxengine.errors import InputError
from fxengine.features.moments import Block, Blocks, collect
from fxengine.heads import Kind, lda, logistic, ridge
from fxengine.heads.classes import balanced_weights
from fxengine.heads.evaluate.calibration import TINY, fit_scale, probabilities
from fxengine.heads.evaluate.scores import Problem
from fxengine.heads.ridge import RidgeClassifier, RidgeRegressor
from fxengine.heads.streams.closed_form import STRENGTHS, Targets, cross_validate, scores_out_of_fold

# The heads that rows in streams can have, the quickest first.
STREAMED: dict[Kind, tuple[str, ...]] = {
    "classes": ("ridge", "lda", "logistic"),
    "labels": ("ridge",),
    "numbers": ("ridge",),
}
_ROWS = 4096

_Model = TypeVar("_Model")


def fit(
    name: str, blocks: Blocks, problem: Problem, fold: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> tuple[Any, np.ndarray]:
    """Return the fitted estimator, and the answers of every row by one of the other folds, float32 [n, outputs].

    Args:
        name: one of `STREAMED[problem.kind]`.
        blocks: the rows, of length 1.
        problem: what is to be predicted.
        fold: int [n], from `assign_folds`.
        balanced: whether every class counts as much, whatever its rows.
        seed: of the rows that fix a scale.

    Raises:
        InputError: there is no such head for rows in streams.
    """
    there = STREAMED[problem.kind]
    if name not in there:
        choice = " or ".join(there)
        raise InputError(f"The head {name!r} needs all vectors in memory, and they do not fit. Take {choice}.")
    classes = len(problem.names) if problem.kind == "classes" else 0
    weights = balanced_weights(problem.y, classes) if balanced and classes else None
    if name == "logistic":
        return _logistic(blocks, problem.y, classes, fold, np.ones(len(fold)) if weights is None else weights, seed)
    solve = ridge.solve if name == "ridge" else lda.solve
    found = cross_validate(solve, blocks, Targets(problem.y, classes), fold, weights=weights)
    scores = scores_out_of_fold(blocks, found, fold)
    coef, bias = found.whole.weights[found.best], found.whole.bias[found.best]
    if problem.kind == "numbers":
        return _fill(RidgeRegressor(), coef, bias, strength_=STRENGTHS[found.best], single_=False), scores
    scale, labels = fit_scale(scores, problem.y, seed), problem.kind == "labels"
    answers = _probabilities(scores, scale, labels)
    if name == "lda":
        return _linear(LinearDiscriminantAnalysis(), coef * scale, bias * scale), answers
    facts = {"strength_": STRENGTHS[found.best], "classes_": np.arange(len(coef)), "multilabel_": labels}
    return _fill(RidgeClassifier(), coef, bias, scale_=scale, **facts), answers


def _linear(model: _Model, coef: np.ndarray, bias: np.ndarray) -> _Model:
    """Return scikit-learn's estimator with these weights [classes, dim]; of two classes it keeps their difference."""
    classes = np.arange(len(coef))
    if len(coef) == 2:
        coef, bias = coef[1:] - coef[:1], bias[1:] - bias[:1]
    return _fill(model, coef, bias, classes_=classes)


def _fill(model: _Model, coef: np.ndarray, bias: np.ndarray, **fitted: object) -> _Model:
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
    blocks: Blocks, y: np.ndarray, classes: int, fold: np.ndarray, weights: np.ndarray, seed: int
) -> tuple[Any, np.ndarray]:
    """Fit every fold and the whole, at the strength with the least log loss on the first fold's rows.

    The first fold's own score is therefore that of the best of three.
    """
    folds = int(fold.max()) + 1
    statistics = collect(blocks, Targets(y, classes).matrix(), fold, folds, weights)
    some = _some_rows(blocks, np.random.default_rng(seed).permutation(len(y)) < _ROWS)
    answers = np.empty((len(fold), classes), np.float32)
    losses: dict[float, float] = {}
    for number in range(folds):
        held, moments = fold == number, statistics.without(number).centred()
        strengths = [min(losses, key=lambda s: losses[s])] if number else logistic.STRENGTHS
        fitted = logistic.path(blocks, y, weights * ~held, moments, some, strengths)
        for strength, (coef, bias) in zip(strengths, fitted, strict=True):
            found = _answers(blocks, held, coef, bias)
            if not number:
                own = found[np.arange(len(found)), y[held]]
                losses[strength] = float(-(weights[held] @ np.log(np.maximum(own, TINY))))
                if losses[strength] > min(losses.values()):
                    break
            answers[held] = found
    strength = min(losses, key=lambda s: losses[s])
    (coef, bias), *_ = logistic.path(blocks, y, weights, statistics.without(None).centred(), some, [strength])
    return _linear(LogisticRegression(C=strength), coef, bias), answers


def _some_rows(blocks: Blocks, wanted: np.ndarray) -> Block:
    """Return the rows of which `wanted`, bool [n], is true."""
    found = [Block(x[wanted[at]], at[wanted[at]]) for x, at in blocks()]
    return Block(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _answers(blocks: Blocks, held: np.ndarray, coef: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the probabilities of the rows of which `held`, bool [n], is true, float32 [rows, classes]."""
    place = np.cumsum(held) - 1
    found = np.empty((place[-1] + 1, len(bias)), np.float32)
    product, shift = coef.T.astype(np.float32), bias.astype(np.float32)
    for x, at in blocks():
        mine = held[at]
        found[place[at[mine]]] = probabilities(x[mine] @ product + shift, 1.0)
    return found
