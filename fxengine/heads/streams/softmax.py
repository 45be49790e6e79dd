"""Logistic regression over rows in streams: the models of all folds and of the whole share each pass over them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from fxengine.features.blocks import Say
from fxengine.features.moments import Block, Blocks, Centred, eigh
from fxengine.heads.streams.closed_form import Linear
from fxengine.heads.streams.descent import Asked, descend

# Steps that lower the loss by no more than this share of it are not worth their passes.
_ENOUGH = 2e-3
_PASSES = 60
_LINE_ROWS = 10_000  # one number needs no more
_ROWS = 4096  # of those drawn at once
_CACHED = 1 << 16  # scores that stay in a core's own cache while they become probabilities
# Numbers of 8 bytes that a model takes, as multiples of its own: what it and its descent hold, and the sums of a pass.
_HELD = 16


@dataclass(frozen=True)
class Rows:
    """What models are fitted to.

    Attributes:
        blocks: the rows.
        y: class numbers int64 [n].
        weights: float64 [n]; 0 leaves a row out of every model.
        fold: int [n].
        some: rows at random, by which steps are measured before they are taken.
    """

    blocks: Blocks
    y: np.ndarray
    weights: np.ndarray
    fold: np.ndarray
    some: Block


def fit(
    rows: Rows,
    moments: Sequence[tuple[int | None, Centred]],
    strength: float,
    starts: Sequence[Linear] | None = None,
    progress: Say | None = None,
) -> list[Linear]:
    """Return the models that minimise scikit-learn's objective at C = `strength`, one of each fold's other rows.

    They go down side by side, and a model whose next step would gain too little takes no part in further passes. No
    model ever sees its own fold, so that what it says of it is honest, wherever it stopped.

    Args:
        rows: the rows.
        moments: of each model, the fold that it leaves out (None for none), and the moments of its rows with their
            weights and one-hot classes.
        strength: C.
        starts: of each model, where to begin, instead of from the moments.
        progress: told after each pass how much is left.
    """
    problems = [_Problem.of(rows, without, each, strength) for without, each in moments]
    if starts is None:
        points = [problem.start(each) for problem, (_, each) in zip(problems, moments, strict=True)]
    else:
        points = [problem.point(start) for problem, start in zip(problems, starts, strict=True)]
    descents = [
        descend(point, problem.diagonal, problem.best, enough=_ENOUGH, most=_PASSES)
        for problem, point in zip(problems, points, strict=True)
    ]
    asked = {number: next(descent) for number, descent in enumerate(descents)}
    teller = _Teller(len(points), progress)
    while asked:
        going = [(problems[number], each.point) for number, each in asked.items()]
        for number, answer in zip(list(asked), _answers(rows, going), strict=True):
            try:
                asked[number] = descents[number].send(answer)
            except StopIteration as end:
                points[number] = end.value
                del asked[number]
        teller.tell(list(asked.values()))
    return [problem.model(point) for problem, point in zip(problems, points, strict=True)]


class _Teller:
    """Says after each pass of several descents how far the slowest is, and about how long it will take yet."""

    def __init__(self, models: int, progress: Say | None) -> None:
        self._models, self._progress, self._begin = models, progress, time.monotonic()
        self._promises: list[float] = []

    def tell(self, asked: Sequence[Asked]) -> None:
        """Say it of the descents that go on."""
        if self._progress is None or not asked:
            return
        self._promises.append(max(each.promise for each in asked))
        passes, first, last = len(self._promises), self._promises[0], self._promises[-1]
        left = ""
        if last < first:  # as if the promises went on to fall as they did
            more = 1 + math.log(last / max(_ENOUGH, 1e-9)) / math.log(first / last) * (passes - 1)
            left = f"; about {more * (time.monotonic() - self._begin) / passes:.0f} s left"
        self._progress(
            f"logistic: {passes} passes downwards, {len(asked)} of {self._models} models go on; the next lowers the "
            f"loss by up to {last:.2%}, {_ENOUGH:.2%} is the end{left}"
        )


def memory(models: int, classes: int, dim: int) -> int:
    """Return the bytes that `fit` takes for so many models, about."""
    return models * 8 * (_HELD * classes * (dim + 1) + dim * dim)


@dataclass(frozen=True)
class _Problem:
    """The loss of one model, in coordinates in which its Hessian is about diagonal.

    A point is float64 [classes, dim + 1]: of each class the weights along the eigenvectors of the scatter matrix, and
    the bias about the mean. The Hessian is about that matrix times the mean of p (1 - p) of the class, as if the two
    had nothing to do with each other (as in Martens and Grosse 2015, arXiv 1503.05671).

    Attributes:
        rows: all rows.
        without: the fold whose rows are left out; None where none are.
        weight: sum of the weights of those that are not.
        mean: of these, [dim].
        values: eigenvalues of their scatter matrix over the weight, [dim].
        vectors: its eigenvectors (columns), [dim, dim].
        penalty: of half the squared weights, where the loss is a mean over the rows.
    """

    rows: Rows
    without: int | None
    weight: float
    mean: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    penalty: float

    @classmethod
    def of(cls, rows: Rows, without: int | None, moments: Centred, strength: float) -> _Problem:
        """Return the problem of some rows; see `fit`."""
        weight, (values, vectors) = moments.weight, eigh(moments.scatter)
        # Of two classes scikit-learn penalises the one vector that is the difference of these two: twice as much.
        penalty = (2 if len(moments.target_mean) == 2 else 1) / (strength * weight)
        return cls(rows, without, weight, moments.mean, np.maximum(values, 0) / weight, vectors, penalty)

    def model(self, point: np.ndarray) -> Linear:
        """Return what stands at a point."""
        weights = point[:, :-1] @ self.vectors.T
        return Linear(weights, point[:, -1] - weights @ self.mean)

    def point(self, model: Linear) -> np.ndarray:
        """Return where a model stands."""
        return np.column_stack([model.weights @ self.vectors, model.bias + model.weights @ self.mean])

    def start(self, moments: Centred) -> np.ndarray:
        """Return where to begin: a step of Newton's from scores that say no more than the classes' shares.

        With the Hessian as above these are ridge regressions, each shrunk the more the rarer its class is.
        """
        shares = np.maximum(moments.target_mean, 1 / self.weight)
        point = np.zeros((len(shares), len(self.mean) + 1))
        point[:, -1] = np.log(shares)
        step = np.zeros_like(point)
        step[:, :-1] = moments.cross @ self.vectors / self.weight
        step /= self._hessian(shares * (1 - shares))
        return point + self.best(point, step) * step

    def diagonal(self, point: np.ndarray) -> np.ndarray:
        """Return the diagonal of the Hessian at a point, about, from the rows drawn."""
        model, spread, total = _flat(self.model(point)), np.zeros(len(point)), 0.0
        for x, at in self._drawn():
            p = _scores(x, model)
            _, sums = _exponentials(p)
            p /= sums[:, None]
            p *= 1 - p
            w = self.rows.weights[at]
            spread += w.astype(np.float32) @ p
            total += w.sum()
        return self._hessian(np.maximum(spread / total, 1 / self.weight))

    def best(self, point: np.ndarray, step: np.ndarray) -> float:
        """Return how many steps from a point the loss is the least, as some of the rows drawn have it."""
        models = [_flat(self.model(point)), _flat(self.model(step))]
        every = -(-len(self.rows.some.at) // _LINE_ROWS)  # not the first ones: a store may be sorted by class
        places = np.concatenate([at[::every] for _, at in self._drawn()])
        scores, more = (np.concatenate([_scores(x[::every], model) for x, _ in self._drawn()]) for model in models)
        own, w = (np.arange(len(places)), self.rows.y[places]), self.rows.weights[places]

        def loss(log_factor: float) -> float:
            factor = math.exp(log_factor)
            p = scores + np.float32(factor) * more
            logits = p[own]
            highest, sums = _exponentials(p)
            bent = point[:, :-1] + factor * step[:, :-1]
            return float(w @ (np.log(sums) + highest - logits) / w.sum()) + self.penalty / 2 * float(
                np.vdot(bent, bent)
            )

        return math.exp(minimize_scalar(loss, bounds=(-5.0, 2.0), method="bounded", options={"xatol": 0.05}).x)

    def takes(self, at: np.ndarray) -> np.ndarray:
        """Return which of some rows, int64 [k], it is fitted to, bool [k]."""
        taken: np.ndarray = (self.rows.fold[at] != self.without) & (self.rows.weights[at] > 0)
        return taken

    def _hessian(self, spread: np.ndarray) -> np.ndarray:
        """Return the diagonal where p (1 - p) of the classes is so much in the mean, float64 [classes]."""
        return np.column_stack([np.outer(spread, self.values) + self.penalty, spread])

    def _drawn(self) -> Iterator[Block]:
        """Yield the rows drawn that it is fitted to, a few thousand at a time."""
        x, at = self.rows.some
        mine = np.flatnonzero(self.takes(at))
        for start in range(0, len(mine), _ROWS):
            yield Block(x[mine[start : start + _ROWS]], at[mine[start : start + _ROWS]])


class _Sums:
    """The loss of a model over rows, and its gradient by the weights and biases."""

    def __init__(self, model: Linear) -> None:
        self.model = _flat(model)
        self.loss, self.by_weights, self.by_bias = 0.0, np.zeros(model.weights.shape), np.zeros(model.bias.shape)

    def add(self, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> None:
        """Add rows float32 [k, dim], their classes and float32 weights."""
        p = _scores(x, self.model)
        size = max(1, _CACHED // p.shape[1])
        for start in range(0, len(x), size):
            end = start + size
            part, weights, own = p[start:end], w[start:end], (np.arange(len(p[start:end])), y[start:end])
            logits = part[own]
            highest, sums = _exponentials(part)
            self.loss += float(weights @ (np.log(sums) + highest - logits))
            part *= (weights / sums)[:, None]
            part[own] -= weights
        self.by_bias += p.sum(axis=0)
        self.by_weights += p.T @ x


def _answers(rows: Rows, going: Sequence[tuple[_Problem, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """Return the loss of each problem at its point, with the gradient there, from one pass over the rows."""
    sums = [_Sums(problem.model(point)) for problem, point in going]
    for x, at in rows.blocks():
        y, w = rows.y[at], rows.weights[at].astype(np.float32)
        for (problem, _), each in zip(going, sums, strict=True):
            mine = problem.takes(at)
            each.add(x[mine], y[mine], w[mine])
    found = []
    for (problem, point), each in zip(going, sums, strict=True):
        weights, by_bias = point[:, :-1], each.by_bias / problem.weight
        gradient = np.column_stack([each.by_weights / problem.weight - np.outer(by_bias, problem.mean), by_bias])
        gradient[:, :-1] = gradient[:, :-1] @ problem.vectors + problem.penalty * weights
        loss = each.loss / problem.weight + problem.penalty / 2 * float(np.vdot(weights, weights))
        found.append((loss, gradient))
    return found


def _flat(model: Linear) -> tuple[np.ndarray, np.ndarray]:
    return model.weights.T.astype(np.float32), model.bias.astype(np.float32)


def _scores(x: np.ndarray, model: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    scores: np.ndarray = x @ model[0]
    scores += model[1]
    return scores


def _exponentials(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace scores [k, classes] by exp(scores - the row's highest); return the highest and the sums, both [k]."""
    highest = scores.max(axis=1)
    scores -= highest[:, None]
    np.exp(scores, out=scores)
    return highest, scores.sum(axis=1)
