from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.tasks import groups
from fxengine.tasks.groups import near_duplicate_groups


def closure(vectors: np.ndarray, hashes: list[str | None], threshold: float) -> np.ndarray:
    """Groups by the definition: the transitive closure of the links, in float64."""
    v = vectors.astype(np.float64)
    v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
    same = np.array([[a is not None and a == b for b in hashes] for a in hashes], bool).reshape(len(v), len(v))
    reach = same | (v @ v.T >= threshold) | np.eye(len(v), dtype=bool)
    for _ in range(len(v)):
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    return np.unique(reach.argmax(axis=1), return_inverse=True)[1]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([3, 7, 64]))
def test_groups_equal_the_transitive_closure(n: int, seed: int, threshold: float, block: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 5, (n, 3)).astype(np.float16)
    hashes = [None if i == 0 else str(i) for i in rng.integers(0, 20, n)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "_BLOCK", block)
        found = near_duplicate_groups(vectors, hashes, threshold)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, closure(vectors, hashes, threshold))


def test_equal_vectors_are_near_at_threshold_one_and_zeros_never() -> None:
    vectors = np.array([[1, 2, 3], [2, 4, 6], [0, 0, 0], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(near_duplicate_groups(vectors, [None] * 4, 1.0), [0, 0, 1, 2])


def test_copies_of_one_file_are_a_group_whatever_their_vectors() -> None:
    found = near_duplicate_groups(np.eye(4), ["x", "y", "x", "y"], 0.9)
    np.testing.assert_array_equal(found, [0, 1, 0, 1])


def test_no_rows_give_no_groups() -> None:
    assert near_duplicate_groups(np.empty((0, 4)), [], 0.9).shape == (0,)
