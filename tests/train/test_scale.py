from __future__ import annotations

import numpy as np
import pytest

from fxengine.heads.evaluate.scores import Problem
from fxengine.train.scale import Scale

RNG = np.random.default_rng(0)


def test_numbers_are_learned_free_of_their_mean_and_spread() -> None:
    y = RNG.normal([250_000, -3], [40_000, 0.01], (50, 2))
    train = np.arange(30)
    scale = Scale.of(Problem("numbers", ("price", "slope"), y, np.arange(50)), train)
    learned = scale.learned(y)
    np.testing.assert_allclose(learned[train].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(learned[train].std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(scale.answers(learned), y, rtol=1e-6)


def test_a_head_is_brought_to_the_scale_and_back() -> None:
    y = RNG.normal(1000, 50, (40, 2))
    scale = Scale.of(Problem("numbers", ("a", "b"), y, np.arange(40)), np.arange(40))
    x, weights, bias = RNG.normal(size=(5, 7)), RNG.normal(size=(2, 7)).astype(np.float32), np.array([900.0, 1100.0])
    learned_weights, learned_bias = scale.to_learn(weights, bias)
    np.testing.assert_allclose(scale.answers(x @ learned_weights.T + learned_bias), x @ weights.T + bias, rtol=1e-5)
    back = scale.to_answer(learned_weights, learned_bias)
    np.testing.assert_allclose(back[0], weights, rtol=1e-5)
    np.testing.assert_allclose(back[1], bias, rtol=1e-5)


def test_what_does_not_vary_and_what_is_no_number_stay() -> None:
    same = Scale.of(Problem("numbers", ("a",), np.full((4, 1), 7.0), np.arange(4)), np.arange(4))
    assert same.learned(np.array([[7.0], [9.0]])).tolist() == [[0], [2]]
    classes = Scale.of(Problem("classes", ("a", "b"), np.array([0, 1]), np.arange(2)), np.arange(2))
    assert classes.answers(np.array([[3.0, -1.0]])).tolist() == [[3, -1]]


@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_it_is_exact_enough_far_from_zero(mean: float) -> None:
    y = RNG.normal(mean, 1, (100, 1))
    scale = Scale.of(Problem("numbers", ("a",), y, np.arange(100)), np.arange(100))
    assert np.abs(scale.answers(scale.learned(y)) - y).max() < 1e-6 * max(1.0, abs(mean))
