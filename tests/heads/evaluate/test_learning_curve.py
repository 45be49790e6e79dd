from __future__ import annotations

import numpy as np
import pytest

from fxengine.heads import make_head
from fxengine.heads.evaluate.interval import exact_interval
from fxengine.heads.evaluate.learning_curve import LearningCurve, extrapolate, learning_curve
from fxengine.heads.evaluate.scores import Problem, assign_folds, interval_of
from tests.heads.test_contract import blobs


def power_law(a: float, b: float, c: float, noise: float = 0.0) -> LearningCurve:
    rows = np.array([50, 90, 160, 280, 500])
    rng = np.random.default_rng(1)
    errors = (a + b * rows**-c)[:, None] + noise * rng.normal(size=(5, 5))
    return LearningCurve(rows, 1 - errors, 625)


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 3.0, 0.5), (0.05, 2.0, 0.6), (0.02, 8.0, 1.0)])
def test_a_power_law_is_continued(a: float, b: float, c: float) -> None:
    found = extrapolate(power_law(a, b, c), 2000)
    assert found.mean == pytest.approx(1 - (a + b * 2000**-c), abs=0.003)
    assert found.low < found.mean < found.high


def test_the_truth_lies_in_the_interval() -> None:
    truth = 1 - (0.05 + 2.0 * 2000**-0.6)
    found = extrapolate(power_law(0.05, 2.0, 0.6, noise=0.01), 2000)
    assert found.low < truth < found.high


def test_what_no_longer_grows_stays() -> None:
    flat = LearningCurve(np.array([50, 100, 200]), np.full((3, 5), 0.8), 250)
    assert extrapolate(flat, 10_000).mean == pytest.approx(0.8, abs=0.01)


def test_the_last_point_is_the_score_of_the_folds() -> None:
    x, y = blobs(3, rows=30)
    problem = Problem("classes", ("a", "b", "c"), y, np.arange(len(y)))
    fold = assign_folds(problem, 5, 0)
    curve = learning_curve(lambda _: make_head("logistic"), x, problem, fold)
    expected = [
        (make_head("logistic").fit(x[fold != k], y[fold != k]).predict(x[fold == k]) == y[fold == k]).mean()
        for k in range(5)
    ]
    np.testing.assert_allclose(curve.scores[-1], expected)
    assert curve.rows[-1] == 72
    assert curve.means[-1] >= curve.means[0]


def test_groups_are_never_parted_and_classes_are_even() -> None:
    y = np.arange(120) % 3
    groups = np.arange(120) // 4
    problem = Problem("classes", ("a", "b", "c"), y, groups)
    fold = assign_folds(problem, 5, 1)
    for group in range(30):
        assert len(set(fold[groups == group])) == 1
    plain = assign_folds(problem, 5, 1, grouped=False)
    np.testing.assert_array_equal(np.bincount(plain * 3 + y), np.full(15, 8))


def test_an_interval_counts_groups() -> None:
    y = np.zeros(40, int)
    p = np.tile([0.9, 0.1], (40, 1))
    p[:10] = [0.1, 0.9]
    alone = Problem("classes", ("a", "b"), y, np.arange(40))
    assert interval_of(alone, [p]) == exact_interval(0.75, 40)
    pairs = Problem("classes", ("a", "b"), y, np.arange(40) // 2)
    assert interval_of(pairs, [p]) == exact_interval(0.75, 20)
    assert interval_of(pairs, [p], folds=4) == exact_interval(0.75, 12)
