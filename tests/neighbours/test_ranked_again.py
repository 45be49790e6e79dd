"""Scores of exact search: right to the last digits, whatever the scale, in one order alone and in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judges import by_definition
from fxengine import Index, InputError
from fxengine.neighbours.exact import exact_search, pair_scores, ranked_again
from tests.stores import write_store

METRICS = st.sampled_from(["cosine", "ip", "l2"])


@settings(max_examples=60, deadline=None)
@given(METRICS, st.integers(0, 2**16), st.sampled_from([1e-3, 1.0, 15.0, 1000.0]), st.integers(1, 30), st.booleans())
def test_scores_are_the_definitions_and_ties_keep_their_order(
    metric: str, seed: int, length: float, k: int, shifted: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (40, 6)).astype(np.float32) * np.float32(length)
    if shifted:
        rows += np.float32(100 * length)
    rows = rows[rng.integers(0, len(rows), 90)]  # some are there several times
    queries = np.concatenate([rows[:3], rng.normal(0, length, (2, 6)).astype(np.float32)])
    found, scores = exact_search([rows[:50], rows[50:]], queries, k + 8, metric)
    found, scores = (each[:, :k] for each in ranked_again(rows, found, scores, queries, metric))
    for i, query in enumerate(queries):
        exact = by_definition(rows, query, metric)
        scale = 1.0 if metric == "cosine" else float(np.linalg.norm(query) * np.linalg.norm(rows, axis=1).max())
        if metric == "l2":
            scale = float(np.abs(exact).max())
        atol = 0.0 if metric == "l2" else 1e-6 * scale  # a product of matrices, in float32
        np.testing.assert_allclose(scores[i], exact[found[i]], rtol=3e-7, atol=atol)
        best = np.sort(exact)[::-1][:k]
        np.testing.assert_allclose(exact[found[i]], best, rtol=1e-5, atol=2e-6 * scale)
        for a, b in zip(found[i], found[i][1:], strict=False):
            assert a < b or (rows[a] != rows[b]).any()
        alone = ranked_again(rows, *exact_search([rows], query[None], k + 8, metric), query[None], metric)
        np.testing.assert_array_equal(rows[alone[0][0][:k]], rows[found[i]])
        np.testing.assert_allclose(alone[1][0][:k], scores[i], rtol=3e-7, atol=atol)
    if metric == "l2":
        assert (scores[:3, 0] == 0).all()


def test_a_zero_vector_has_no_cosine() -> None:
    assert pair_scores(np.ones((1, 2)), np.zeros((3, 2)), "cosine").tolist() == [0, 0, 0]


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_vectors_of_any_scale_are_compared_or_refused(tmp_path: Path, metric: str) -> None:
    rng = np.random.default_rng(1)
    vectors = (rng.normal(0, 1, (30, 5)) * 1e22).astype(np.float32)
    index = Index.exact(write_store(tmp_path / "s", vectors, dtype="float32"), metric)
    if metric != "cosine":
        with pytest.raises(InputError, match=rf"has numbers over 1e\+15, too large to compare by {metric}"):
            index.search(np.ones((1, 5)), 3)
        return
    found = index.search(vectors[:4], 5)
    for i in range(4):
        exact = by_definition(vectors, vectors[i], metric)
        assert found.ids[i] == [f"{row:06d}" for row in np.argsort(-exact, kind="stable")[:5]]
        np.testing.assert_allclose(found.scores[i], np.sort(exact)[::-1][:5], atol=1e-6)


def test_a_changed_row_counts_once_towards_a_new_index(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(0, 1, (200, 8))
    index = Index.build(write_store(tmp_path / "s", vectors), factory="Flat")
    for share, says in ((0.13, "26 rows to add, 26 to remove"), (0.21, "42 rows came, went or changed")):
        hashes = [f"changed {share}" if i < share * 200 else f"hash {i:06d}" for i in range(200)]
        write_store(tmp_path / "s", vectors, hashes=hashes)
        said: list[str] = []
        index = index.update(progress=said.append)
        assert said[0].startswith(says)
