from __future__ import annotations

import numpy as np
import pytest

from fxengine.errors import StoreError
from fxengine.index.flat import FlatIndex


def test_neighbours_equal_a_plain_matrix_product() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, (300, 24)).astype(np.float16)
    queries = rng.normal(0, 3, (7, 24)).astype(np.float32)
    result = FlatIndex([f"k{i}" for i in range(300)], base).search(queries, 5)
    unit = base.astype(np.float64) / np.linalg.norm(base.astype(np.float64), axis=1, keepdims=True)
    cosine = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
    best = np.argsort(-cosine, axis=1)[:, :5]
    assert result.ids == [[f"k{i}" for i in row] for row in best]
    np.testing.assert_allclose(result.scores, np.take_along_axis(cosine, best, 1), atol=1e-6)


def test_k_beyond_the_store_gives_all_and_vectors_stay_raw() -> None:
    base = np.eye(3, dtype=np.float32) * 5
    result = FlatIndex(["a", "b", "c"], base).search(base[:1], 10)
    assert result.ids[0][0] == "a"
    assert len(result.ids[0]) == 3
    np.testing.assert_array_equal(base, np.eye(3) * 5)


def test_an_empty_store_cannot_be_searched() -> None:
    with pytest.raises(StoreError, match="there is nothing to search"):
        FlatIndex([], np.empty((0, 4), np.float32))
