"""Heads for more rows than fit into memory: ridge and lda from two passes, logistic regression from more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from fxengine.errors import InputError
from fxengine.features.moments import Block, Blocks, collect
from fxengine.heads import lda, logistic, ridge
from fxengine.heads.classes import balanced_weights
from fxengine.heads.estimator import Estimator, Kind
from fxengine.heads.evaluate.calibration import TINY, fit_scale, probabilities
from fxengine.heads.evaluate.scores import Problem
from fxengine.heads.ridge import RidgeClassifier, RidgeRegressor
from fxengine.heads.streams.closed_form import (
    FittedFolds,
    Solve,
    Targets,
    cross_validate,
    scores_out_of_fold,
)

_ROWS = 4096

_Model = TypeVar("_Model")


@dataclass(frozen=True)
class StreamedRows:
    """Rows that are read in passes, and what is to be predicted of them.

    Attributes:
        blocks: the rows, of length 1.
        problem: what is to be predicted.
        fold: int [n], the fold of every row.
        weights: float64 [n] of every row; None where all count as much.
        seed: of the rows that fix a scale.
    """

    blocks: Blocks
    problem: Problem
    fold: np.ndarray
    weights: np.ndarray | None
    seed: int

    @property
    def targets(self) -> Targets:
        """What is regressed on."""
        return Targets(self.problem.y, len(self.problem.names) if self.problem.kind == "classes" else 0)


# The estimator fitted to all rows, and the answers of every row by one of the other folds, float32 [n, outputs].
Fit = Callable[[StreamedRows], tuple[Estimator, np.ndarray]]


@dataclass(frozen=True)
class StreamedHead:
    """A head that rows in streams can have.

    Attributes:
        kinds: what it can predict, of what the head of this name can.
        fit: fits it; its estimator is one that the head's `nodes` takes.
    """

    kinds: tuple[Kind, ...]
    fit: Fit


def streamed_for(kind: Kind) -> list[str]:
    """Return the heads that rows in streams can have for a kind of target, the quickest first."""
    return [name for name, head in STREAMED.items() if kind in head.kinds]


def fit(
    name: str, blocks: Blocks, problem: Problem, fold: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> tuple[Estimator, np.ndarray]:
    """Return the fitted estimator, and the answers of every row by one of the other folds, float32 [n, outputs].

    Args:
        name: one of `streamed_for(problem.kind)`.
        blocks: the rows, of length 1.
        problem: what is to be predicted.
        fold: int [n], from `assign_folds`.
        balanced: whether every class counts as much, whatever its rows.
        seed: of the rows that fix a scale.

    Raises:
        InputError: there is no such head for rows in streams.
    """
    there = streamed_for(problem.kind)
    if name not in there:
        choice = " or ".join(there)
        raise InputError(f"The head {name!r} needs all vectors in memory, and they do not fit. Take {choice}.")
    alike = not balanced or problem.kind != "classes"
    weights = None if alike else balanced_weights(problem.y, len(problem.names))
    return STREAMED[name].fit(StreamedRows(blocks, problem, fold, weights, seed))


def _closed_form(solve: Solve, rows: StreamedRows) -> tuple[FittedFolds, np.ndarray]:
    """Return the models of every fold, and the scores of every row by the others, float32 [n, outputs]."""
    found = cross_validate(solve, rows.blocks, rows.targets, rows.fold, weights=rows.weights)
    return found, scores_out_of_fold(rows.blocks, found, rows.fold)


def _ridge(rows: StreamedRows) -> tuple[Estimator, np.ndarray]:
    found, scores = _closed_form(ridge.solve, rows)
    coef, bias, strength = found.whole.weights, found.whole.bias, found.strength
    if rows.problem.kind == "numbers":
        return _fill(RidgeRegressor(), coef, bias, strength_=strength, single_=False), scores
    scale, labels = fit_scale(scores, rows.problem.y, rows.seed), rows.problem.kind == "labels"
    facts = {"strength_": strength, "classes_": np.arange(len(coef)), "multilabel_": labels, "scale_": scale}
    return _fill(RidgeClassifier(), coef, bias, **facts), _probabilities(scores, scale, labels)


def _lda(rows: StreamedRows) -> tuple[Estimator, np.ndarray]:
    found, scores = _closed_form(lda.solve, rows)
    coef, bias = found.whole.weights, found.whole.bias
    scale = fit_scale(scores, rows.problem.y, rows.seed)
    return _linear(LinearDiscriminantAnalysis(), coef * scale, bias * scale), _probabilities(scores, scale, False)


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


def _logistic(rows: StreamedRows) -> tuple[Estimator, np.ndarray]:
    """Fit every fold and the whole, at the strength with the least log loss on the first fold's rows.

    The first fold's own score is therefore that of the best of three.
    """
    blocks, y, fold, folds = rows.blocks, rows.problem.y, rows.fold, int(rows.fold.max()) + 1
    weights = np.ones(len(fold)) if rows.weights is None else rows.weights
    statistics = collect(blocks, rows.targets.matrix(), fold, folds, weights)
    some = _some_rows(blocks, np.random.default_rng(rows.seed).permutation(len(y)) < _ROWS)
    answers = np.empty((len(fold), len(rows.problem.names)), np.float32)
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


# The heads that rows in streams can have, the quickest first. To add one: write here what fits it, and name it here as
# `heads.HEADS` does.
STREAMED = {
    "ridge": StreamedHead(("classes", "labels", "numbers"), _ridge),
    "lda": StreamedHead(("classes",), _lda),
    "logistic": StreamedHead(("classes",), _logistic),
}
