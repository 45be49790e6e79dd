"""Heads for more rows than fit into memory: ridge and lda from three passes, logistic regression from more.

One pass draws some rows at random, one takes the moments of every fold, from which logistic regression goes on. The
rows drawn say how scores become probabilities, and the last pass answers every row by its fold's model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from fxengine.collect.memory import demand
from fxengine.errors import InputError
from fxengine.features.blocks import Say
from fxengine.features.moments import Block, Blocks, collect
from fxengine.heads import lda, logistic, ridge
from fxengine.heads.classes import balanced_weights
from fxengine.heads.estimator import Estimator, Kind
from fxengine.heads.evaluate.answers import SAMPLE, Answers, put, room_for
from fxengine.heads.evaluate.calibration import TINY, calibrate, fit_scale, probabilities
from fxengine.heads.evaluate.scores import Problem
from fxengine.heads.ridge import RidgeClassifier, RidgeRegressor
from fxengine.heads.streams import softmax
from fxengine.heads.streams.closed_form import Linear, Solve, Targets, cross_validate, fold_scores

_Model = TypeVar("_Model")


@dataclass(frozen=True)
class StreamedRows:
    """Rows that are read in passes, and what is to be predicted of them.

    Attributes:
        blocks: the rows, of length 1.
        problem: what is to be predicted.
        fold: int [n], the fold of every row.
        weights: float64 [n] of every row; None where all count as much.
        some: at most 50,000 of them at random.
        progress: told how far long work is, beside what the blocks say; None for nobody.
    """

    blocks: Blocks
    problem: Problem
    fold: np.ndarray
    weights: np.ndarray | None
    some: Block
    progress: Say | None = None

    @property
    def targets(self) -> Targets:
        """What is regressed on."""
        return Targets(self.problem.y, len(self.problem.names) if self.problem.kind == "classes" else 0)


@dataclass(frozen=True)
class Models:
    """What a head is in streams.

    Attributes:
        folds: of each fold, the model of the rows of the others.
        estimator: of all rows, from the factor of its scores.
    """

    folds: list[Linear]
    estimator: Callable[[float], Estimator]


Fit = Callable[[StreamedRows], Models]


@dataclass(frozen=True)
class StreamedHead:
    """A head that rows in streams can have.

    Attributes:
        kinds: what it can predict, of what the head of this name can.
        fit: fits it; its estimator is one that the head's `nodes` takes.
        scaled: whether its scores want a factor before they are probabilities.
    """

    kinds: tuple[Kind, ...]
    fit: Fit
    scaled: bool = True


@dataclass(frozen=True)
class Streamed:
    """A head that was fitted in streams.

    Attributes:
        estimator: fitted to all rows.
        answers: of every row by a model of the other folds.
        scale: of the calibration, 1 where there is none; the answers have it, the estimator does not.
    """

    estimator: Estimator
    answers: Answers
    scale: float


def streamed_for(kind: Kind) -> list[str]:
    """Return the heads that rows in streams can have for a kind of target, the quickest first."""
    return [name for name, head in STREAMED.items() if kind in head.kinds]


def fit(
    name: str,
    blocks: Blocks,
    problem: Problem,
    fold: np.ndarray,
    *,
    balanced: bool = False,
    calibrated: bool = False,
    seed: int = 0,
    progress: Say | None = None,
) -> Streamed:
    """Return the head of all rows, and the answers of every row by one of the other folds.

    Args:
        name: one of `streamed_for(problem.kind)`.
        blocks: the rows, of length 1.
        problem: what is to be predicted.
        fold: int [n], from `assign_folds`.
        balanced: whether every class counts as much, whatever its rows.
        calibrated: whether to calibrate the probabilities of classes, by the rows that are drawn.
        seed: of the rows that are drawn.
        progress: told how far logistic regression is, after each of its passes.

    Raises:
        InputError: there is no such head for rows in streams.
    """
    there = streamed_for(problem.kind)
    if name not in there:
        choice = " or ".join(there)
        raise InputError(f"The head {name!r} needs all vectors in memory, and they do not fit. Take {choice}.")
    alike = not balanced or problem.kind != "classes"
    weights = None if alike else balanced_weights(problem.y, len(problem.names))
    some = _some_rows(blocks, np.random.default_rng(seed).permutation(len(fold)) < SAMPLE)
    rows = StreamedRows(blocks, problem, fold, weights, some, progress)
    models = STREAMED[name].fit(rows)
    scale, more = _scales(models, rows, seed, scaled=STREAMED[name].scaled, calibrated=calibrated)
    answers = room_for(len(fold), len(problem.names), seed)
    for scores, at in fold_scores(blocks, models.folds, fold):
        put(answers, at, _answers(scores, scale * more, problem.kind), problem.y)
    return Streamed(models.estimator(scale), answers, more)


def _answers(scores: np.ndarray, scale: float, kind: Kind) -> np.ndarray:
    return scores if kind == "numbers" else probabilities(scores, scale, labels=kind == "labels")


def _scales(models: Models, rows: StreamedRows, seed: int, *, scaled: bool, calibrated: bool) -> tuple[float, float]:
    """Return the factor of scores with the least log loss on the rows drawn, and that of the calibration beyond it."""
    kind, at = rows.problem.kind, rows.some.at
    if kind == "numbers" or not (scaled or calibrated):
        return 1.0, 1.0
    scores = np.empty((len(at), len(rows.problem.names)), np.float32)
    place = np.empty(len(rows.fold), np.int64)
    place[at] = np.arange(len(at))
    for part, mine in fold_scores(lambda: iter([rows.some]), models.folds, rows.fold):
        scores[place[mine]] = part
    scale = fit_scale(scores, rows.problem.y[at], seed) if scaled else 1.0
    if not calibrated or kind != "classes":
        return scale, 1.0
    return scale, calibrate(probabilities(scores, scale), rows.problem.y[at], rows.fold[at])[1]


def _in_closed_form(solve: Solve, rows: StreamedRows, estimator: Callable[[Linear, float, float], Estimator]) -> Models:
    """Return the models of a solution; `estimator` makes that of all rows of weights, strength and scale."""
    found = cross_validate(solve, rows.blocks, rows.targets, rows.fold, weights=rows.weights)
    return Models(found.models, lambda scale: estimator(found.whole, found.strength, scale))


def _ridge(rows: StreamedRows) -> Models:
    def estimator(whole: Linear, strength: float, scale: float) -> Estimator:
        if rows.problem.kind == "numbers":
            return _fill(RidgeRegressor(), whole, strength_=strength, single_=False)
        labels = rows.problem.kind == "labels"
        facts = {"classes_": np.arange(len(whole.bias)), "multilabel_": labels, "scale_": scale}
        return _fill(RidgeClassifier(), whole, strength_=strength, **facts)

    return _in_closed_form(ridge.solve, rows, estimator)


def _lda(rows: StreamedRows) -> Models:
    def estimator(whole: Linear, strength: float, scale: float) -> Estimator:
        found: Estimator = _linear(LinearDiscriminantAnalysis(), Linear(whole.weights * scale, whole.bias * scale))
        return found

    return _in_closed_form(lda.solve, rows, estimator)


def _linear(model: _Model, found: Linear) -> _Model:
    """Return scikit-learn's estimator with these weights of every class; of two classes it keeps their difference."""
    classes = np.arange(len(found.bias))
    if len(classes) == 2:
        found = Linear(found.weights[1:] - found.weights[:1], found.bias[1:] - found.bias[:1])
    return _fill(model, found, classes_=classes)


def _fill(model: _Model, found: Linear, **fitted: object) -> _Model:
    weights = {"coef_": found.weights, "intercept_": found.bias, "n_features_in_": found.weights.shape[1]}
    for name, value in {**weights, **fitted}.items():
        setattr(model, name, value)
    return model


def _logistic(rows: StreamedRows) -> Models:
    """Fit every fold and the whole side by side, at the strength that did best on some rows of the first fold.

    Raises:
        StoreError: there is not as much memory.
    """
    folds, (_, dim), classes = int(rows.fold.max()) + 1, rows.some.x.shape, len(rows.problem.names)
    demand(
        softmax.memory(folds + 1, classes, dim),
        f"Logistic regression of {classes} classes in {folds} folds",
        "Fewer `folds` take less, and so does the head 'lda'.",
    )
    weights = np.ones(len(rows.fold)) if rows.weights is None else rows.weights
    strength = _logistic_strength(rows, weights)
    statistics = collect(rows.blocks, rows.targets.matrix(), rows.fold, folds, weights)
    moments = [(without, statistics.without(without).centred()) for without in (*range(folds), None)]
    del statistics
    given = softmax.Rows(rows.blocks, rows.problem.y, weights, rows.fold, rows.some)
    *models, whole = softmax.fit(given, moments, strength, progress=rows.progress)
    return Models(models, lambda scale: _linear(LogisticRegression(C=strength), whole))


def _logistic_strength(rows: StreamedRows, weights: np.ndarray) -> float:
    """Return the strength with the least log loss on the first fold's rows of those drawn, fitted to the others.

    The first fold's own score is therefore that of the best of three, as far as its rows were drawn.
    """
    x, at = rows.some
    y, w, held = rows.problem.y[at], weights[at], rows.fold[at] == 0
    some = Block(x, np.arange(len(x)))
    targets = Targets(y, len(rows.problem.names)).matrix()
    moments = collect(lambda: iter([some._replace(x=x.copy())]), targets, weights=w * ~held).without(None).centred()
    given = softmax.Rows(lambda: _pieces(some), y, w, np.where(held, 0, 1), some)
    losses: dict[float, float] = {}
    models: list[Linear] | None = None
    for strength in logistic.STRENGTHS:
        models = softmax.fit(given, [(0, moments)], strength, models)
        p = probabilities(x[held] @ models[0].weights.T.astype(np.float32) + models[0].bias.astype(np.float32), 1.0)
        losses[strength] = float(-(w[held] @ np.log(np.maximum(p[np.arange(len(p)), y[held]], TINY))))
        if losses[strength] > min(losses.values()):
            break
    return min(losses, key=lambda s: losses[s])


def _pieces(block: Block) -> Iterator[Block]:
    """Yield a block a few thousand rows at a time."""
    for start in range(0, len(block.at), 4096):
        yield Block(block.x[start : start + 4096], block.at[start : start + 4096])


def _some_rows(blocks: Blocks, wanted: np.ndarray) -> Block:
    """Return the rows of which `wanted`, bool [n], is true."""
    found = [Block(x[wanted[at]], at[wanted[at]]) for x, at in blocks()]
    return Block(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


# The heads that rows in streams can have, the quickest first. To add one: write here what fits it, and name it here as
# `heads.HEADS` does.
STREAMED = {
    "ridge": StreamedHead(("classes", "labels", "numbers"), _ridge),
    "lda": StreamedHead(("classes",), _lda),
    "logistic": StreamedHead(("classes",), _logistic, scaled=False),
}
