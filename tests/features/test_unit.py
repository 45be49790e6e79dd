from __future__ import annotations

import numpy as np
import pytest

from fxengine.features.unit import unit_length


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_get_length_one_in_their_own_type(dtype: type[np.floating]) -> None:
    x = np.random.default_rng(0).normal(size=(50, 7)).astype(dtype) * 30
    x[3] = 0
    before = x.copy()
    unit = unit_length(x)
    assert unit.dtype == dtype
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), np.arange(50) != 3, atol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(x, axis=1, keepdims=True), x, rtol=1e-5, atol=1e-5)


def test_in_place_and_with_known_lengths() -> None:
    x = np.array([[3, 4], [0, 0], [0, -2]], np.float32)
    wanted = np.array([[0.6, 0.8], [0, 0], [0, -1]])
    np.testing.assert_allclose(unit_length(x, squares=np.array([25, 0, 4], np.float32)), wanted, rtol=1e-6)
    assert unit_length(x, out=x) is x
    np.testing.assert_allclose(x, wanted, rtol=1e-6)
