from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from fxengine.heads import HEADS, NEEDS_TWO, load_head, make_head
from fxengine.heads.evaluate.few_labels import few_labels
from fxengine.heads.evaluate.scores import Problem, assign_folds


class Counting(KNeighborsClassifier):  # type: ignore[misc]
    """Remembers what it was fitted to."""

    fits: ClassVar[list[tuple[np.ndarray, np.ndarray]]] = []

    def fit(self, x: np.ndarray, y: np.ndarray) -> Any:
        self.fits.append((x, y))
        return super().fit(x, y)


def problem_of(sizes: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, Problem]:
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(sizes)), sizes)
    x = (rng.normal(0, 1, (len(sizes), 6))[y] + rng.normal(0, 0.5, (len(y), 6))).astype(np.float32)
    return x, Problem("classes", tuple("abcdef"[: len(sizes)]), y, np.arange(len(y)))


def test_each_time_twice_as_many_of_each_class_and_the_former_among_them() -> None:
    x, problem = problem_of((20, 20, 3))
    fold = np.arange(len(x)) % 2
    Counting.fits = []
    found = list(few_labels(lambda rows: Counting(1), x, problem, fold))
    assert [count for count, _ in found] == [1, 2, 4, 8, 16]
    for i, (count, right) in enumerate(found):
        assert right.shape == (43,)
        for number in range(2):
            rows, y = Counting.fits[2 * i + number]
            there = np.bincount(problem.y[fold != number])
            np.testing.assert_array_equal(np.bincount(y), np.minimum(there, count))
            mine = {row.tobytes() for row in rows}
            assert mine <= {row.tobytes() for row in x[fold != number]}
            if i:
                assert {row.tobytes() for row in Counting.fits[2 * (i - 1) + number][0]} <= mine
    expected = np.zeros(43, bool)
    for number in range(2):
        model = Counting(1).fit(x[fold != number], problem.y[fold != number])
        expected[fold == number] = model.predict(x[fold == number]) == problem.y[fold == number]
    np.testing.assert_array_equal(found[-1][1], expected)


def test_rows_of_no_fold_train_and_are_not_tested() -> None:
    x, problem = problem_of((10, 10))
    fold = np.where(np.arange(20) % 2, -1, 0)
    for count, right in few_labels(lambda rows: Counting(1), x, problem, fold):
        assert right.shape == (10,)
        rows, y = Counting.fits[-1]
        assert {row.tobytes() for row in rows} <= {row.tobytes() for row in x[fold == -1]}
        assert len(y) == 2 * min(count, 5)


def test_every_head_can_be_fitted_to_so_few() -> None:
    x, problem = problem_of((4, 4, 4))
    fold = assign_folds(problem, 2, 0)
    for name in HEADS:
        if "classes" in load_head(name).KINDS and name != "mlp":
            least = 2 if name in NEEDS_TWO else 1
            made = few_labels(lambda rows, name=name: make_head(name, rows=rows), x, problem, fold, least=least)  # type: ignore[misc]
            assert [count for count, _ in made] == ([2] if least == 2 else [1, 2]), name
