from __future__ import annotations

import numpy as np
import pytest

from fxengine.heads.streams.descent import descend


def went(scale: np.ndarray, enough: float, most: int = 100) -> tuple[np.ndarray, list[float], list[float]]:
    """Go down sum scale x^2 / 2 + 1 from ones, told nothing of its curvature; return the end, values and promises."""
    descent = descend(np.ones_like(scale), np.ones_like, lambda *_: 1.0, enough=enough, most=most)
    values, promises, asked = [], [], next(descent)
    while True:
        values.append(1 + float(scale @ asked.point**2) / 2)
        promises.append(asked.promise)
        try:
            asked = descent.send((values[-1], scale * asked.point))
        except StopIteration as end:
            return end.value, values, promises


def test_it_finds_the_least_value_and_mends_steps_that_are_too_long() -> None:
    end, values, _ = went(np.array([0.1, 1.0, 50.0]), 0.0)
    np.testing.assert_allclose(end, 0, atol=1e-3)
    assert values[1] > values[0]  # the first step is 50 times too long
    assert values[-1] == pytest.approx(1, abs=1e-6)


def test_it_stops_where_no_step_promises_enough() -> None:
    _, values, promises = went(np.array([0.1, 1.0, 50.0]), 1e-2)
    assert promises[0] == np.inf
    assert all(promise > 1e-2 for promise in promises)
    assert 1 < min(values) < 1.02


def test_it_asks_for_no_more_points_than_it_may() -> None:
    assert len(went(np.array([0.1, 1.0, 50.0]), 0.0, most=3)[1]) == 3


def test_where_the_gradient_says_nothing_it_ends() -> None:
    descent = descend(np.zeros(2), np.ones_like, lambda *_: 1.0, enough=0.0, most=9)
    next(descent)
    with pytest.raises(StopIteration) as end:
        descent.send((1.0, np.zeros(2)))
    np.testing.assert_array_equal(end.value.value, 0)
