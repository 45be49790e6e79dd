from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine.features.read import FeatureStore
from fxengine.heads.evaluate.scores import assign_folds
from fxengine.probing.targets import load_targets
from fxengine.probing.vectors import NEAR, Vectors, copies_of, load_vectors, threshold
from tests.stores import write_store


def rows_of(folder: Path, shift: float, hashes: list[str], near: float | None) -> Vectors:
    """Twenty rows, of which the last one is nearly the first one."""
    x = np.random.default_rng(0).normal(0, 1, (20, 16)) + shift
    x[19] = x[0] + 0.001
    store: FeatureStore = write_store(folder, x, labels=["a", "b"] * 10, hashes=hashes)
    return load_vectors(store, load_targets(store), near)


def test_a_cosine_over_one_is_none() -> None:
    assert [threshold(near) for near in (0.5, NEAR, 1.0, 1.0001, 2)] == [0.5, 0.95, 1.0, None, None]


def test_copies_are_a_group_and_none_asks_for_no_groups(tmp_path: Path) -> None:
    hashes = [f"h{i}" for i in range(18)] + ["h1", "h19"]
    groups = rows_of(tmp_path / "s", 0, hashes, NEAR).problem.groups
    np.testing.assert_array_equal(groups, [*range(18), 1, 0])
    np.testing.assert_array_equal(rows_of(tmp_path / "s", 0, hashes, None).problem.groups, np.arange(20))


@pytest.mark.parametrize(("near", "copies"), [(0.5, {2, *range(10)}), (None, set())])
def test_rows_that_are_trained_on_are_told(near: float | None, copies: set[int], tmp_path: Path) -> None:
    train = rows_of(tmp_path / "train", 0, [f"h{i}" for i in range(20)], None)
    x = np.concatenate([train.store.vectors(dtype="float32")[:10], np.random.default_rng(1).normal(0, 1, (10, 16))])
    other = write_store(tmp_path / "test", x, labels=["a", "b"] * 10, hashes=[f"t{i}" for i in range(20)])
    test = load_vectors(other, load_targets(other), None)
    found = copies_of(train, test, near)
    assert set(np.flatnonzero(found[:10]).tolist()) == copies
    assert near is None or found[10:].sum() < 10


def test_a_burst_stays_on_one_side_though_its_ends_are_not_near(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (60, 64))
    turn = np.linspace(0, 0.9, 6)[:, None]  # six shots, each 0.18 from the next: a cosine of 0.98
    x[10:16] = np.cos(turn) * x[10] + np.sin(turn) * rng.normal(0, 1, 64)
    store = write_store(tmp_path / "s", x, labels=["a", "b"] * 30)
    problem = load_vectors(store, load_targets(store), NEAR).problem
    assert len(set(problem.groups[10:16].tolist())) == 1
    assert len(set(problem.groups.tolist())) == 55
    for seed in range(5):
        assert len(set(assign_folds(problem, 5, seed)[10:16].tolist())) == 1
