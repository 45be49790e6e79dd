from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from fxengine.heads.evaluate.scores import Problem, deciding_score
from fxengine.train.gain import gain_of


def answered(y: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return answers of two classes, right where wanted."""
    return np.eye(2, dtype=np.float32)[np.where(right, y, 1 - y)]


@pytest.mark.parametrize(("won", "lost", "real"), [(6, 0, True), (5, 0, False), (12, 2, True), (3, 9, False)])
def test_a_gain_of_accuracy_is_mcnemars(won: int, lost: int, real: bool) -> None:
    y = np.arange(40) % 2
    tuned, probe = np.ones(40, bool), np.ones(40, bool)
    probe[:won] = False
    tuned[won : won + lost] = False
    found = gain_of(Problem("classes", ("a", "b"), y, np.arange(40)), answered(y, tuned), answered(y, probe))
    judge = stats.binomtest(won, won + lost).proportion_ci(0.95, method="exact")
    apart = (won + lost) / 40
    assert found.difference.mean == pytest.approx((won - lost) / 40)
    assert found.difference.low == pytest.approx((2 * judge.low - 1) * apart)
    assert found.difference.high == pytest.approx((2 * judge.high - 1) * apart)
    assert found.real is real
    assert found.real is bool(won > lost and stats.binomtest(won, won + lost).pvalue < 0.05)


def test_two_that_answer_alike_gain_nothing() -> None:
    y = np.arange(8) % 2
    same = answered(y, y == 0)
    found = gain_of(Problem("classes", ("a", "b"), y, np.arange(8)), same, same)
    assert (found.difference.mean, found.difference.low, found.difference.high, found.real) == (0, 0, 0, False)


def test_copies_count_once() -> None:
    y = np.arange(40) % 2
    tuned, probe = answered(y, np.ones(40, bool)), answered(y, np.arange(40) >= 6)
    alone, pairs = (
        Problem("classes", ("a", "b"), y, np.arange(40)),
        Problem("classes", ("a", "b"), y, np.arange(40) // 2),
    )
    assert gain_of(alone, tuned, probe).real
    assert not gain_of(pairs, tuned, probe).real


def test_a_gain_of_numbers_is_students_of_the_squared_errors() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(1000, 50, (60, 2))
    problem = Problem("numbers", ("a", "b"), y, np.arange(60))
    tuned, probe = y + rng.normal(0, 10, y.shape), y + rng.normal(0, 30, y.shape)
    found = gain_of(problem, tuned, probe)
    each = (((probe - y) ** 2 - (tuned - y) ** 2) / ((y - y.mean(0)) ** 2).sum(0)).mean(1) * 60
    judge = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert found.difference.mean == pytest.approx(r2_score(y, tuned) - r2_score(y, probe))
    assert (found.difference.low, found.difference.high) == pytest.approx((judge.low, judge.high))
    assert found.real
    nothing = gain_of(problem, probe + 1e-6 * rng.normal(size=y.shape), probe)
    assert nothing.difference.mean != 0
    assert not nothing.real


def test_a_sure_gain_that_is_next_to_nothing_is_none() -> None:
    y = np.arange(60.0)[:, None]
    problem, off = Problem("numbers", ("a",), y, np.arange(60)), np.where(np.arange(60) % 2, 1.0, -1.0)[:, None]
    found = gain_of(problem, y + off * (1 - 1e-6), y + off)
    assert 0 < found.difference.low < 1e-6
    assert not found.real


def test_one_group_says_nothing() -> None:
    y = np.array([[1.0], [2.0], [4.0]])
    found = gain_of(Problem("numbers", ("a",), y, np.zeros(3, int)), y, y + 1)
    assert found.difference.mean > 0
    assert not found.real


def test_a_gain_of_labels_is_resampled_in_pairs() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((80, 3)) < [0.5, 0.2, 0.02]).astype(int)  # the last one is in few resamples
    problem = Problem("labels", ("a", "b", "c"), y, np.arange(80))
    good, bad = y + rng.normal(0, 0.2, y.shape), y + rng.normal(0, 2, y.shape)
    found = gain_of(problem, good, bad)
    assert found.difference.mean == pytest.approx(deciding_score(problem, good) - deciding_score(problem, bad))
    assert 0 < found.difference.low < found.difference.mean < found.difference.high
    assert found.real
    assert not gain_of(problem, bad, good).real
    assert str(found).endswith("paired bootstrap)")
