"""What more rows bring: the score at growing numbers of rows, and where it goes from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fxengine.errors import InputError
from fxengine.heads.estimator import Estimator
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import Problem, all_answers, deciding_score

_FEWEST = 2  # points that a line is laid through
_RESAMPLES = 400
_SHARES = (0.1, 0.18, 0.32, 0.56, 1.0)
# Exponents of the power law; error falls with a power of the rows between these in what Hestness et al. 2017
# (arXiv 1712.00409) and Rosenfeld et al. 2020 (arXiv 1909.12673) measured.
_EXPONENTS = np.linspace(0.1, 1.5, 29)


@dataclass(frozen=True)
class LearningCurve:
    """Scores at growing numbers of training rows.

    Attributes:
        rows: training rows, int64 [sizes].
        scores: float64 [sizes, folds], on the rows of a fold.
        tested: rows of all folds together.
    """

    rows: np.ndarray
    scores: np.ndarray
    tested: int

    @property
    def means(self) -> np.ndarray:
        """Mean score at each size, [sizes]."""
        means: np.ndarray = self.scores.mean(axis=1)
        return means


def learning_curve(
    make: Callable[[int], Estimator], x: np.ndarray, problem: Problem, fold: np.ndarray, seed: int = 0
) -> LearningCurve:
    """Return the deciding score at a tenth up to all of the rows that a fold leaves, each mean one over the folds.

    Args:
        make: takes how many rows it will be fitted to; returns an unfitted pipeline.
        x: float32 [n, dim].
        problem: what is to be predicted.
        fold: int [n], from `assign_folds`.
        seed: of the choice of rows.

    Raises:
        InputError: a fold leaves too few rows for a curve.
    """
    folds = int(fold.max()) + 1
    rng = np.random.default_rng(seed)
    orders = [_stratified_order(problem, np.flatnonzero(fold != number), rng) for number in range(folds)]
    fewest = min(map(len, orders))
    classes = len(problem.names) if problem.kind == "classes" else 2
    sizes_from = max(2 * classes, 4)
    sizes = np.unique([max(sizes_from, round(share * fewest)) for share in _SHARES])
    sizes = sizes[sizes <= fewest]
    if len(sizes) < _FEWEST:
        raise InputError(
            f"`curve` needs more rows: a fold leaves {fewest} to train on, and its first point takes {sizes_from}. "
            "Label more, or leave it away."
        )
    scores = np.empty((len(sizes), folds))
    for i, size in enumerate(sizes):
        for number, order in enumerate(orders):
            train, test = order[:size], fold == number
            pipeline = make(int(size)).fit(x[train], problem.y[train])
            held = problem.take(test)
            scores[i, number] = deciding_score(held, all_answers(pipeline, x[test], held))
    return LearningCurve(sizes, scores, len(x))


def extrapolate(curve: LearningCurve, rows: int, seed: int = 0) -> Interval:
    """Return the score to expect with `rows` training rows, with a 95% interval.

    The error follows a + b rows^-c with a, b >= 0, fitted by weighted least squares. The interval holds what folds
    drawn anew would give, and the chance of which rows are tested.

    Args:
        curve: at least two sizes.
        rows: training rows.
        seed: of the resampling.
    """
    errors = 1 - curve.scores
    mean = 1 - _predict(curve.rows, errors.mean(axis=1), rows)
    rng = np.random.default_rng(seed)
    folds = errors.shape[1]
    found = []
    for _ in range(_RESAMPLES):
        drawn = errors[:, rng.integers(0, folds, folds)].mean(axis=1)
        value = 1 - _predict(curve.rows, drawn, rows)
        noise = np.sqrt(max(value * (1 - value), 1 / curve.tested) / curve.tested) if 0 <= value <= 1 else 0.0
        found.append(value + rng.normal(0, noise))
    low, high = np.percentile(found, [2.5, 97.5])
    # Nothing in the curve speaks for a fall with more rows, nor against a standstill.
    return Interval(float(mean), float(min(low, mean)), float(min(1.0, max(high, mean))))


def _predict(sizes: np.ndarray, errors: np.ndarray, rows: int) -> float:
    """Return a + b rows^-c of the least-squares fit, c from a grid and a, b >= 0 in closed form."""
    weights = sizes / sizes.sum()  # larger sizes vary less and matter more
    best = (np.inf, float(errors[-1]))
    for c in _EXPONENTS:
        powers = (sizes / sizes[-1]) ** -c
        a, b = _line(powers, errors, weights)
        loss = float((weights * (a + b * powers - errors) ** 2).sum())
        if loss < best[0]:
            best = (loss, a + b * (rows / sizes[-1]) ** -c)
    return float(best[1])


def _line(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """Return a, b >= 0 that minimise sum w (a + b x - y)^2."""
    mx, my = (w * x).sum() / w.sum(), (w * y).sum() / w.sum()
    b = float((w * (x - mx) * (y - my)).sum() / max((w * (x - mx) ** 2).sum(), 1e-300))
    a = float(my - b * mx)
    if b < 0:
        return max(float(my), 0.0), 0.0
    if a < 0:
        return 0.0, max(float((w * x * y).sum() / (w * x * x).sum()), 0.0)
    return a, b


def _stratified_order(problem: Problem, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rows in a random order of which every beginning has about equal shares of each class."""
    rows = rng.permutation(rows)
    if problem.kind != "classes":
        return rows
    y = problem.y[rows]
    # Place of each row within its class, as a share of the class: the classes are dealt out side by side, and each
    # class's first row comes before all others, for no head can be fitted to one class.
    share = np.empty(len(rows))
    for number in np.unique(y):
        mine = np.flatnonzero(y == number)
        share[mine] = (np.arange(len(mine)) + rng.random()) / len(mine)
        share[mine[0]] -= 1
    return np.asarray(rows[np.argsort(share, kind="stable")])
