from __future__ import annotations

import numpy as np
import pytest

from fxengine.neighbours import lists
from fxengine.neighbours.lists import nearest_by_lists, put_into_lists


def made(n: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(0, 1, (20, dim))[rng.integers(0, 20, n)] + rng.normal(0, 0.5, (n, dim))).astype(np.float16)


def exactly(vectors: np.ndarray, k: int) -> list[set[int]]:
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return [set(row) for row in np.argsort(-cosines, axis=1)[:, :k].tolist()]


@pytest.mark.parametrize("cores", [1, 4])
def test_who_visits_all_lists_finds_all_neighbours(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(lists, "_SCORES", 500)  # a list in several pieces
    vectors = made(700, 24)
    held = put_into_lists(vectors, 10**6)
    assert held.visited.shape == (700, held.count)
    found, visited = nearest_by_lists(held, 9)
    assert visited == held.count
    assert [set(row) for row in found.tolist()] == exactly(vectors, 9)


def test_distances_of_principal_components_rank_as_cosines_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_BYTES", 1 << 16)
    monkeypatch.setattr(lists, "_SHORT", 30)
    vectors = np.pad(made(700, 24), ((0, 0), (0, 8)))  # a PCA to 30 of 32 numbers loses nothing of 24
    held = put_into_lists(vectors, 10**6)
    assert held.vectors.shape == (700, 30)
    found, _ = nearest_by_lists(held, 9)
    assert np.mean([len(set(a) & b) / 9 for a, b in zip(found.tolist(), exactly(vectors, 9), strict=True)]) > 0.999


def test_it_stops_when_that_is_enough_and_says_where_there_are_fewer() -> None:
    held = put_into_lists(made(700, 24), 16)
    asked: list[int] = []

    def enough(found: np.ndarray) -> bool:
        asked.append(int((found >= 0).sum()))
        return len(asked) == 3

    found, visited = nearest_by_lists(held, 200, enough)
    assert visited == 4
    assert asked == sorted(asked)
    sizes = np.bincount(held.visited[:, 0], minlength=held.count)
    reached = sizes[held.visited[:, :4]].sum(axis=1)
    np.testing.assert_array_equal((found >= 0).sum(axis=1), np.minimum(reached - 1, 200))  # but itself
    assert not (found == np.arange(700)[:, None]).any()
