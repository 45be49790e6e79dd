from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.neighbours import exact
from fxengine.neighbours.exact import exact_search, in_blocks


def plain(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Every score in float64, by the definition."""
    a, b = queries.astype(np.float64), base.astype(np.float64)
    if metric == "l2":
        return np.asarray(-np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)))
    if metric == "cosine":
        a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
        b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    return np.asarray(a @ b.T)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(1, 70),
    st.integers(1, 9),
    st.sampled_from(["cosine", "ip", "l2"]),
)
def test_neighbours_are_those_of_the_definition(n: int, q: int, k: int, block: int, metric: str) -> None:
    rng = np.random.default_rng(n * 1000 + k)
    base = rng.normal(0, 2, (n, 6)).astype(np.float16)
    queries = rng.normal(0, 3, (q, 6)).astype(np.float32)
    found, scores = exact_search((base[i : i + block] for i in range(0, n, block)), queries, k, metric)
    wanted = plain(base, queries, metric)
    best = np.argsort(-wanted, axis=1)[:, :k]
    np.testing.assert_array_equal(found, best)
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, best, 1), atol=1e-4)
    assert found.dtype == np.int64
    assert scores.dtype == np.float32


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_one_query_is_answered_piece_by_piece_as_by_the_definition(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "_CACHED_BYTES", 4 * 6 * 20)
    rng = np.random.default_rng(5)
    base, query = rng.normal(1, 2, (1003, 6)).astype(np.float16), rng.normal(0, 3, (1, 6)).astype(np.float32)
    found, scores = exact_search((base[i : i + 130] for i in range(0, 1003, 130)), query, 30, metric)
    wanted = plain(base, query, metric)
    best = np.argsort(-wanted, axis=1)[:, :30]
    np.testing.assert_array_equal(found, best)
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, best, 1), atol=1e-4)


def test_rows_that_are_as_near_keep_their_order() -> None:
    base = np.ones((5, 2), np.float32)
    found, _ = exact_search([base[:3], base[3:]], base[:1], 5, "cosine")
    assert found.tolist() == [[0, 1, 2, 3, 4]]


def test_a_zero_vector_has_cosine_zero() -> None:
    base = np.array([[0, 0], [-1, 0], [1, 0]], np.float32)
    found, scores = exact_search([base], np.array([[2.0, 0]], np.float32), 3, "cosine")
    assert found.tolist() == [[2, 0, 1]]
    np.testing.assert_allclose(scores, [[1, 0, -1]])


def test_blocks_hold_every_wanted_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK_BYTES", 300 * 4 * 3)
    matrix = np.arange(3000).reshape(1000, 3)
    blocks = list(in_blocks(matrix))
    assert [len(block) for block in blocks] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate(blocks), matrix)
    rows = np.array([5, 3, 999])
    np.testing.assert_array_equal(np.concatenate(list(in_blocks(matrix, rows))), matrix[rows])


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_queries_in_slabs_give_what_they_give_together(monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    rng = np.random.default_rng(1)
    base, queries = rng.normal(size=(500, 8)).astype(np.float16), rng.normal(size=(10, 8)).astype(np.float32)
    together = exact_search(in_blocks(base), queries, 7, metric)
    monkeypatch.setattr(exact, "_QUERIES", 3)
    monkeypatch.setattr(exact, "_BLOCK_BYTES", 300 * 4 * 8)
    apart = exact_search(in_blocks(base), queries, 7, metric)
    np.testing.assert_array_equal(apart[0], together[0])
    np.testing.assert_allclose(apart[1], together[1], rtol=1e-5, atol=1e-4)
    none = exact_search(in_blocks(base), queries[:0], 7, metric)
    assert none[0].shape == none[1].shape == (0, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e20, 1e-30, 1e15, 3e-16, 7.0])
@pytest.mark.parametrize("rows", ["float16", "float32", "scaled"])
def test_a_cosine_does_not_depend_on_lengths(dtype: type, scale: float, rows: str) -> None:
    rng = np.random.default_rng(3)
    base: np.ndarray = rng.normal(0, 1, (50, 12)).astype(np.float16 if rows == "float16" else np.float32)
    queries = rng.normal(0, 1, (7, 12))
    right = plain(base, queries, "cosine")
    stored = (base * np.float32(scale)).astype(np.float32) if rows == "scaled" else base
    found, scores = exact_search(in_blocks(stored), (queries * scale).astype(dtype), 50, "cosine")
    np.testing.assert_allclose(scores, np.take_along_axis(right, found, 1), atol=2e-6)
    np.testing.assert_allclose(scores, -np.sort(-right, axis=1), atol=2e-6)


def test_longer_than_float32_holds() -> None:
    base = np.eye(3, dtype=np.float32)
    _, scores = exact_search([base], np.array([[1e300, 1e300, 0]]), 2, "cosine")
    np.testing.assert_allclose(scores, [[0.5**0.5, 0.5**0.5]], atol=1e-6)
