"""What every kind of index that `choose` knows must do: find, be saved, filter, follow its store, take what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import Index
from fxengine.neighbours import builder, choose, faiss_build, file
from fxengine.neighbours import index as index_module
from fxengine.neighbours.choose import Candidate, known_indexes
from fxengine.neighbours.exact import in_blocks
from tests.stores import write_store

N, DIM, PCA = 1000, 24, 16
# Of the ten nearest so many are found at least, by how the last look stores a vector.
RECALL = {"PQ8x4fs": 0.5, "SQ8": 0.8, "Refine(SQ8)": 0.9, "Refine(SQfp16)": 0.9, "Flat": 0.9}


def _kinds() -> dict[str, Candidate]:
    """Return all that is known, for vectors as small as these ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "_PCA_DIM", PCA)
        found = known_indexes(choose.FLAT_ROWS, DIM, "cosine")
        patch.setattr(choose, "FLAT_ROWS", 0)
        return {kind.factory: kind for kind in (*found, *known_indexes(N, DIM, "cosine"))}


KINDS = _kinds()


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(3)
    axes = np.geomspace(3, 0.2, DIM)
    return (rng.normal(0, 1, (30, DIM))[rng.integers(0, 30, N)] * axes + rng.normal(0, 0.5, (N, DIM)) * axes).astype(
        np.float16
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "HELD_OUT", 100)
    monkeypatch.setattr(index_module, "_NARROW", 20)


def nearest(rows: np.ndarray, queries: np.ndarray, k: int = 10) -> list[list[str]]:
    """By the definition, in float64."""
    a, b = (v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (queries, rows))
    return [[f"{i:06d}" for i in row] for row in np.argsort(-(a @ b.T), axis=1)[:, :k]]


def share_found(found: list[list[str]], wanted: list[list[str]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, wanted, strict=True)]))


def test_these_are_all_kinds() -> None:
    assert len(KINDS) == len(choose.KINDS) + 1  # Flat, for few rows


@pytest.mark.parametrize("factory", KINDS)
def test_it_finds_is_kept_filters_and_follows_its_store(factory: str, vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors, labels=["in" if i % 3 else "out" for i in range(N)])
    built = Index.build(store, factory=factory, recall=0.9)
    least = RECALL[factory.rpartition(",")[2].rpartition("_")[2]]
    assert built.facts is not None
    assert built.facts.trial.factory == factory
    queries = vectors[:100].astype(np.float32)
    found = built.search(queries)
    assert share_found(found.ids, nearest(vectors, queries)) == pytest.approx(built.facts.trial.recall.at_10, abs=0.1)
    assert built.facts.trial.recall.at_10 >= least
    assert (np.diff(found.scores, axis=1) <= 1e-6).all()

    built.save()
    loaded = Index.load(tmp_path / "store")
    assert (loaded.facts.trial if loaded.facts else None) == built.facts.trial
    again = loaded.search(queries)
    assert again.ids == found.ids
    np.testing.assert_array_equal(again.scores, found.scores)

    inside = np.flatnonzero(np.arange(N) % 3)
    few = loaded.search(queries, where="label == 'in'").ids
    assert all(int(key) % 3 for row in few for key in row)
    among = [[f"{inside[int(key)]:06d}" for key in row] for row in nearest(vectors[inside], queries)]
    assert share_found(few, among) >= least - 0.05

    changed = np.concatenate([vectors, -vectors[:50]])
    kept = np.delete(np.arange(len(changed)), [3, 4])
    write_store(tmp_path / "store", changed[kept], ids=[f"{i:06d}" for i in kept], rows=kept.tolist())
    stale = Index.load(tmp_path / "store")
    assert not stale.fresh
    updated = stale.update()
    assert updated.facts is not None
    assert (updated.fresh, updated.facts.added, updated.facts.removed) == (True, 50, 2)
    new = updated.search(-queries[:50], 5).ids
    assert np.mean([f"{N + i:06d}" in row for i, row in enumerate(new)]) >= least
    assert not {"000003", "000004"} & {key for row in updated.search(queries[:5]).ids for key in row}


@pytest.mark.parametrize("factory", KINDS)
def test_a_vector_takes_the_memory_that_is_said_of_it(factory: str, vectors: np.ndarray) -> None:
    index = faiss_build.train(factory, "cosine", vectors)
    sizes, times = [], 8 if "fs" in factory else 1  # so that a list's last block, half filled, counts for little
    for _ in range(2):
        for _ in range(times):
            faiss_build.add(index, in_blocks(vectors), "cosine")
        sizes.append(file.size(index))
    assert (sizes[1] - sizes[0]) / (times * N) == pytest.approx(KINDS[factory].row_bytes, rel=0.1)
