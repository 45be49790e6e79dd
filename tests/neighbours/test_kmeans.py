from __future__ import annotations

import numpy as np
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
