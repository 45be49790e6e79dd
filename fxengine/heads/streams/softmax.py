"""Logistic regression over rows in streams: the models of all folds and the whole share each pass over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from fxengine.features.moments import Block, Blocks, Centred
from fxengine.heads.streams.closed_form import Linear
from fxengine.heads.streams.descent import descend

# A step that promises to lower the loss by no more than this share of it is left out: passes are dear.
_ENOUGH = 1e-3
_PASSES = 60
_CACHED = 1 << 16  # scores that stay in a core's own cache while they become probabilities
_LINE_ROWS = 20_000  # one number needs no more


@dataclass(frozen=True)
class Rows:
    """What models are fitted to.

    Attributes:
        blocks: the rows.
        y: class numbers int64 [n].
        weights: float64 [n]; 0 leaves a row out of every model.
        fold: int [n].
        some: rows at random, by which the first steps are measured.
    """

    blocks: Blocks
    y: np.ndarray
    weights: np.ndarray
    fold: np.ndarray
    some: Block


@dataclass(frozen=True)
class Fit:
    """One of the models that are fitted side by side, in coordinates of its own.

    A point is float64 [classes, dim + 1]: weights along the eigenvectors of the scatter matrix, and the biases about
    the mean. There the Hessian is about diagonal: p (1 - p) of each class, times the scatter.

    Attributes:
        rows: all rows.
        without: the fold whose rows are left out; None where none are.
        moments: of the rows that it is fitted to, with their weights and one-hot classes.
        penalty: of half the squared weights, where the loss is a mean over the rows.
    """

    rows: Rows
    without: int | None
    moments: Centred
    penalty: float

    def model(self, point: np.ndarray) -> Linear:
        """Return the weights and biases of a point."""
        weights = point[:, :-1] @ self.moments.spectrum[1].T
        return Linear(weights, point[:, -1] - weights @ self.moments.mean)

    def of(self, at: np.ndarray) -> np.ndarray:
        """Return which of some rows, int64 [k], it is fitted to, bool [k]."""
        return (self.rows.fold[at] != self.without) & (self.rows.weights[at] > 0)

    def scores(self, points: Sequence[np.ndarray], most: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the scores of at most `most` of the rows drawn, float32 [k, classes] of each point, and their places."""
        x, at = self.rows.some
        mine = np.flatnonzero(self.of(at))[:most]
        return [_scores(x[mine], self.model(point)) for point in points], at[mine]

    def start(self) -> np.ndarray:
        """Return where to begin: Newton's step from scores that say no more than the classes' shares.

        Its Hessian is taken to be the diagonal, in which a class's weights are those of a ridge regression, shrunk the
        more the rarer the class is.
        """
        shares = np.maximum(self.moments.target_mean, 1 / self.moments.weight)
        point = np.zeros((len(shares), len(self.moments.mean) + 1))
        point[:, -1] = np.log(shares)
        step = np.zeros_like(point)
        cross = self.moments.cross @ self.moments.spectrum[1] / self.moments.weight
        step[:, :-1] = cross / self._diagonal(shares * (1 - shares))[:, :-1]
        return point + self.best(point, step) * step

    def _diagonal(self, spread: np.ndarray) -> np.ndarray:
        """Return the diagonal of the Hessian where the classes' means of p (1 - p) are these, float64 [classes]."""
        values = self.moments.spectrum[0] / self.moments.weight
        return np.column_stack([np.outer(spread, values) + self.penalty, spread])

    def diagonal(self, point: np.ndarray) -> np.ndarray:
        """Return the diagonal of the Hessian at a point, about, as the rows drawn have it."""
        (p,), at = self.scores([point], len(self.rows.fold))
        _to_probabilities(p)
        w = self.rows.weights[at]
        spread = (w / w.sum()) @ (p * (1 - p))
        return self._diagonal(np.maximum(spread, 1 / self.moments.weight))

    def best(self, point: np.ndarray, step: np.ndarray) -> float:
        """Return how many steps from a point the loss is the least, as some of the rows drawn have it."""
        (scores, there), at = self.scores([point, point + step], _LINE_ROWS)
        there -= scores
        own, w = (np.arange(len(at)), self.rows.y[at]), self.rows.weights[at] / self.rows.weights[at].sum()
        weights, change = point[:, :-1], step[:, :-1]

        def loss(log_factor: float) -> float:
            factor = np.exp(log_factor)
            p = scores + np.float32(factor) * there
            logit, sums = _to_exponentials(p, own)
            bent = weights + factor * change
            return float(w @ (np.log(sums) - logit)) + self.penalty / 2 * float(np.vdot(bent, bent))

        return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 2.0), method="bounded", options={"xatol": 0.05}).x))


def _scores(x, model):
    return x @ model.weights.T.astype(np.float32) + model.bias.astype(np.float32)


def _to_exponentials(p, own):
    p -= p.max(axis=1, keepdims=True)
    logit = p[own]
    np.exp(p, out=p)
    return logit, p.sum(axis=1)


def _to_probabilities(p):
    p -= p.max(axis=1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)


def fit(rows: Rows, without: Sequence[int | None], moments, strength: float, starts=None) -> list[Linear]:
    fits = []
    for fold, each in zip(without, moments, strict=True):
        penalty = (2 if len(each.target_mean) == 2 else 1) / (strength * each.weight)
        fits.append(Fit(rows, fold, each, penalty))
    points = [each.start() for each in fits] if starts is None else starts
    descents = {}
    for number, (each, point) in enumerate(zip(fits, points)):
        descents[number] = descend(point, each.diagonal(point), each.best, enough=_ENOUGH, most=_PASSES)
    asked = {n: next(d) for n, d in descents.items()}
    while asked:
        going = list(asked)
        for n, answer in zip(going, _pass(rows, [fits[n] for n in going], [asked[n] for n in going])):
            try:
                asked[n] = descents[n].send(answer)
            except StopIteration as end:
                points[n] = end.value
                del asked[n]
    return [each.model(point) for each, point in zip(fits, points, strict=True)]


class Sums:
    def __init__(self, model):
        self.weights, self.bias = model.weights.T.astype(np.float32), model.bias.astype(np.float32)
        self.loss, self.by_weights, self.by_bias = 0.0, np.zeros(model.weights.shape), np.zeros(model.bias.shape)

    def add(self, x, y, w):
        p = x @ self.weights
        size = max(1, _CACHED // len(self.bias))
        for start in range(0, len(x), size):
            some = slice(start, start + size)
            q = p[some]
            q += self.bias
            own = np.arange(len(q)), y[some]
            logit, sums = _to_exponentials(q, own)
            self.loss += float(w[some] @ (np.log(sums) - logit))
            q *= (w[some] / sums)[:, None]
            q[own] -= w[some]
        self.by_bias += p.sum(axis=0)
        self.by_weights += p.T @ x


def _pass(rows, fits, points):
    models = [f.model(p) for f, p in zip(fits, points)]
    sums = [Sums(m) for m in models]
    for x, at in rows.blocks():
        for each, total in zip(fits, sums, strict=True):
            mine = each.of(at)
            part, places = (x, at) if mine.all() else (x[mine], at[mine])
            total.add(part, rows.y[places], rows.weights[places].astype(np.float32))
    found = []
    for each, point, total in zip(fits, points, sums, strict=True):
        n = each.moments.weight
        by_bias = total.by_bias / n
        g = (total.by_weights / n - np.outer(by_bias, each.moments.mean)) @ each.moments.spectrum[1] + each.penalty * point[:, :-1]
        v = total.loss / n + each.penalty / 2 * float(np.vdot(point[:, :-1], point[:, :-1]))
        found.append((v, np.column_stack([g, by_bias])))
    return found
