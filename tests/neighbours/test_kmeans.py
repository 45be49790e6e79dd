from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from fxengine.neighbours.kmeans import kmeans


def test_clouds_become_clusters_numbered_by_size() -> None:
    rng = np.random.default_rng(0)
    sizes = [60, 200, 20, 120]
    truth = np.repeat(np.arange(4), sizes)
    vectors = (rng.normal(0, 1, (4, 16))[truth] + rng.normal(0, 0.1, (400, 16))) * rng.uniform(1, 9, (400, 1))
    order = rng.permutation(400)
    assigned, near = kmeans(vectors[order].astype(np.float16), 4)
    assert adjusted_rand_score(truth[order], assigned) == 1
    assert np.bincount(assigned).tolist() == [200, 120, 60, 20]
    unit = vectors[order] / np.linalg.norm(vectors[order], axis=1, keepdims=True)
    for number in range(4):
        mine = assigned == number
        centre = unit[mine].mean(axis=0)
        np.testing.assert_allclose(near[mine], unit[mine] @ centre / np.linalg.norm(centre), atol=2e-3)
        # The nearest to the centre is the medoid: the least mean distance to all others.
        mean_distance = (1 - unit[mine] @ unit[mine].T).mean(axis=1)
        assert mean_distance[np.argmax(near[mine])] <= mean_distance.min() + 1e-3
    again, _ = kmeans(vectors[order].astype(np.float16), 4)
    np.testing.assert_array_equal(again, assigned)


def test_as_many_clusters_as_rows() -> None:
    assigned, near = kmeans(np.eye(5), 5)
    assert sorted(assigned.tolist()) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(near, 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "dim", "k", "seed"), [(2000, 32, 10, 0), (2000, 32, 10, 1), (3000, 64, 60, 2)])
def test_planted_groups_are_found_as_scikit_learn_finds_them(rows: int, dim: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (k, dim))
    truth = rng.integers(0, k, rows)
    vectors = centres[truth] / np.linalg.norm(centres[truth], axis=1, keepdims=True)
    vectors = (vectors + rng.normal(0, 0.3 / np.sqrt(dim), (rows, dim))).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assigned, _ = kmeans(vectors, k, seed)
    judge = KMeans(k, n_init=5, random_state=seed).fit(unit)
    assert inertia(unit, assigned) <= 1.12 * judge.inertia_  # drawn evenly, the first centres gave 1.8 times
    assert adjusted_rand_score(truth, assigned) >= 0.97


def inertia(unit: np.ndarray, assigned: np.ndarray) -> float:
    groups = (unit[assigned == number] for number in np.unique(assigned))
    return sum(float(((rows - rows.mean(axis=0)) ** 2).sum()) for rows in groups)


def test_rows_that_are_all_alike_are_clusters_too() -> None:
    assigned, near = kmeans(np.ones((20, 4), np.float32), 3)
    assert len(set(assigned.tolist())) <= 3
    np.testing.assert_allclose(near, 1, atol=1e-6)
