from __future__ import annotations

import numpy as np

from fxengine.neighbours.pairs import neighbour_pairs


def test_the_pairs_are_neighbours_and_copies_are_among_them() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, (2000, 16))
    vectors = np.concatenate([base, base[:200] + rng.normal(0, 0.05, (200, 16))]).astype(np.float16)
    pairs = {(int(a), int(b)) for left, right in neighbour_pairs(vectors) for a, b in zip(left, right, strict=True)}
    assert all(a != b for a, b in pairs)
    assert np.bincount([a for a, _ in pairs]).max() <= 16
    assert sum((i, 2000 + i) in pairs for i in range(200)) >= 199
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    level = np.sort(unit @ unit.T, axis=1)[:, -60]
    near = [unit[a] @ unit[b] >= level[a] for a, b in pairs]
    assert np.mean(near) > 0.95
