"""A selection of a store is searched as a store of these rows alone would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import FeatureStore, Index, InputError
from fxengine.features.fingerprint import store_fingerprint
from tests.stores import write_store

N, DIM = 400, 8
FAILED = (3, 250)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(5).normal(0, 1, (N, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> FeatureStore:
    return write_store(tmp_path_factory.mktemp("selection") / "store", vectors, failed=FAILED, dtype="float32")


@pytest.fixture(scope="module")
def indexes(store: FeatureStore) -> list[str]:
    Index.build(store, factory="Flat").save()
    return ["exact", "loaded", "built"]


def opened(way: str, view: FeatureStore) -> Index:
    if way == "loaded":
        return Index.load(view)
    return Index.exact(view) if way == "exact" else Index.build(view, factory="Flat")


CHOSEN = st.lists(st.sampled_from([i for i in range(N) if i not in FAILED]), unique=True, min_size=3, max_size=60)


@settings(max_examples=60, deadline=None)
@given(CHOSEN, st.integers(1, 3), st.booleans(), st.sampled_from(["exact", "loaded", "built"]))
def test_only_its_rows_are_found_in_their_order(
    store: FeatureStore, vectors: np.ndarray, indexes: list[str], chosen: list[int], k: int, filtered: bool, way: str
) -> None:
    ids = [f"{row:06d}" for row in chosen]
    index = opened(way, store.select(ids=ids))
    assert len(index) == len(chosen) == len(index.store)
    assert index.store.rows(["id"])["id"].to_pylist() == index.table["id"].to_pylist() == ids
    np.testing.assert_array_equal(index.matrix, vectors[chosen])
    left = [i for i in range(len(chosen)) if not filtered or chosen[i] >= min(chosen[1:])]
    query = vectors[7:8] + 0.1
    unit = vectors[chosen][left] / np.linalg.norm(vectors[chosen][left], axis=1, keepdims=True)
    cosines = unit @ (query[0] / np.linalg.norm(query))
    best = np.argsort(-cosines, kind="stable")[:k]
    found = index.search(query, k, where=f"row >= {min(chosen[1:])}" if filtered else None)
    assert found.ids == [[ids[left[i]] for i in best]]
    np.testing.assert_allclose(found.scores[0], cosines[best], atol=1e-5)


def test_what_is_said_of_a_store_is_said_of_its_selection(store: FeatureStore) -> None:
    view = store.select(ids=store.ids()[:5][::-1])
    assert (len(store), len(view), len(store.errors()), view.errors()) == (N, 5, len(FAILED), [])
    assert (view.is_selection, view.whole == store, len(view.whole)) == (True, True, N)
    assert store_fingerprint(view) == store_fingerprint(store)


def test_no_index_of_a_selection_stands_for_the_store(store: FeatureStore, tmp_path: Path) -> None:
    index = Index.build(store.select(ids=store.ids()[:9]), factory="Flat")
    for change in (lambda: index.save(tmp_path), index.update):
        with pytest.raises(InputError, match=r"This index searches 9 rows of .* whole store"):
            change()
