"""What a few labelled rows of each class are worth: a head trained on 1, 2, 4, 8 ... of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fxengine.heads.estimator import Estimator
from fxengine.heads.evaluate.scores import Problem, all_answers


def few_labels(
    make: Callable[[int], Estimator],
    x: np.ndarray,
    problem: Problem,
    fold: np.ndarray,
    *,
    seed: int = 0,
    least: int = 1,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (rows of a class, which tested rows were recognised), with twice as many rows each time.

    Of each class the rows are chosen at random, those of a time are also in the next; a class that has fewer gives all.
    The last time all rows are trained on.

    Args:
        make: returns an unfitted pipeline for so many rows.
        x: float32 [n, dim].
        problem: classes to predict.
        fold: int [n], from `assign_folds`; a row of -1 is trained on in every fold, and never tested.
        seed: of the choice of rows.
        least: rows of a class at first.

    Yields:
        How many rows of each class, and bool [tested], in the order of the rows whose fold is not -1.
    """
    rng = np.random.default_rng(seed)
    folds = range(int(fold.max()) + 1)
    places = [_places(problem.y, fold != number, rng) for number in folds]
    most = max(int(place.max()) for place in places) + 1
    count = least
    while True:
        right = np.zeros(len(x), bool)
        for number, place in zip(folds, places, strict=True):
            train, test = (place >= 0) & (place < count), fold == number
            pipeline = make(int(train.sum())).fit(x[train], problem.y[train])
            held = problem.take(test)
            right[test] = all_answers(pipeline, x[test], held).argmax(axis=1) == held.y
        yield count, right[fold >= 0]
        if count >= most:
            return
        count *= 2


def _places(y: np.ndarray, among: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the place of every row in a random order of its class, from 0, int64 [n]; -1 of those not `among`."""
    place = np.full(len(y), -1)
    rows = rng.permutation(np.flatnonzero(among))
    for number in np.unique(y[rows]):
        mine = rows[y[rows] == number]
        place[mine] = np.arange(len(mine))
    return place
