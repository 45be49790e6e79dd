from __future__ import annotations

import numpy as np
import pytest

from fxengine.neighbours import all_rows, lists
from fxengine.neighbours.all_rows import nearest_of_all


def exactly(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(cosines, order, 1)


@pytest.mark.parametrize("short", [False, True])
def test_what_the_lists_find_is_ranked_as_by_all_pairs(short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (40, 48))
    vectors = (centres[rng.integers(0, 40, 1500)] + rng.normal(0, 0.4, (1500, 48))).astype(np.float16)
    vectors[700] = vectors[3]  # a copy
    if short:  # a PCA before the lists, as of long vectors
        monkeypatch.setattr(lists, "_BYTES", 1 << 17)
        monkeypatch.setattr(lists, "_SHORT", 24)
    said: list[str] = []
    found, cosines, share = nearest_of_all(vectors, 5, said.append)
    wanted, near = exactly(vectors, 5)
    assert found.dtype == np.int64
    assert not (found == np.arange(1500)[:, None]).any()
    hits = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, wanted, strict=True)])
    assert hits == pytest.approx(share, abs=0.03)
    assert hits >= 0.94
    same = (found == wanted).all(axis=1)
    assert same.mean() > 0.8
    np.testing.assert_allclose(cosines[same], near[same], atol=2e-6)
    assert (found[3, 0], found[700, 0]) == (700, 3)
    assert said[-1].endswith(f"lists: {share:.1%} of the exact ones")


def test_lists_that_hold_too_few_are_left_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(1).normal(0, 1, (60, 8)).astype(np.float32)
    monkeypatch.setattr(all_rows, "_MOST_LISTS", 1)
    found, cosines, _ = nearest_of_all(vectors, 20)
    wanted, near = exactly(vectors, 20)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(cosines, near, atol=1e-6)
