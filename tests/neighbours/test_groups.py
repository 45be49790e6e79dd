from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.neighbours import groups
from fxengine.neighbours.groups import choose_threshold, near_duplicate_groups, whiten


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


@pytest.fixture(scope="module")
def copies() -> tuple[np.ndarray, np.ndarray]:
    """400 pictures of 10 kinds in 256 numbers, 80 of them with a copy: vectors, and the picture of each row."""
    rng = np.random.default_rng(4)
    axes = rng.normal(0, 1, (256, 256)) * np.geomspace(4, 0.3, 256)
    pictures = (rng.normal(0, 3, (10, 256))[rng.integers(0, 10, 400)] + rng.normal(0, 1, (400, 256))) @ axes.T
    made = np.concatenate([pictures, pictures[:80] + rng.normal(0, 1.2, (80, 256))])
    order = rng.permutation(480)
    return made[order].astype(np.float16), np.concatenate([np.arange(400), np.arange(80)])[order]


def linked(groups: np.ndarray) -> np.ndarray:
    same: np.ndarray = groups[:, None] == groups[None]
    return same[np.triu_indices(len(groups), 1)]


def test_whitening_is_the_formula_in_float64(copies: tuple[np.ndarray, np.ndarray]) -> None:
    unit = copies[0].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    values, axes = np.linalg.eigh(np.cov(unit, rowvar=False))
    wanted = (unit - unit.mean(axis=0)) @ axes / np.sqrt(values + values.sum() / 256)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = whiten(copies[0]).astype(np.float64)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=5e-3)


def test_copies_are_told_from_pictures_of_the_same_kind(copies: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, pictures = copies
    whitened = whiten(vectors)
    threshold = choose_threshold(whitened)
    found, wanted = linked(near_duplicate_groups(whitened, [None] * 480, threshold)), linked(pictures)
    assert (found & wanted).sum() / found.sum() >= 0.98
    assert (found & wanted).sum() / wanted.sum() >= 0.95
    by_cosine = linked(near_duplicate_groups(vectors, [None] * 480, 0.95))
    assert (by_cosine & wanted).sum() / by_cosine.sum() < 0.9


def test_many_rows_are_compared_through_an_index(
    copies: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, _ = copies
    whitened = whiten(vectors)
    all_pairs = near_duplicate_groups(whitened, [None] * 480, 0.6)
    monkeypatch.setattr(groups, "ALL_PAIRS", 100)
    np.testing.assert_array_equal(near_duplicate_groups(whitened, [None] * 480, 0.6, vectors), all_pairs)


def test_few_rows_are_whitened_too() -> None:
    assert whiten(np.ones((1, 3))).shape == (1, 3)
    two = whiten(np.array([[1.0, 0, 0], [0, 1, 0]]))
    assert float(two[0] @ two[1]) == pytest.approx(-1, abs=1e-2)
    assert np.isfinite(whiten(np.ones((5, 3)))).all()
    assert choose_threshold(two) == 0.95
