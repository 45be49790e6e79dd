from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from fxengine import FeatureStore, Index, InputError, StoreError
from fxengine.neighbours import builder, choose
from fxengine.neighbours import index as index_module
from fxengine.neighbours.index_store import index as make_index
from tests.stores import write_store

N, DIM = 3000, 24


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.normal(0, 1, (30, DIM))[rng.integers(0, 30, N)] + rng.normal(0, 0.7, (N, DIM))).astype(np.float16)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat small stores as large ones, so that every path is walked in seconds."""
    monkeypatch.setattr(choose, "FLAT_ROWS", 500)
    monkeypatch.setattr(choose, "_SCAN_ROWS", 0)
    monkeypatch.setattr(builder, "HELD_OUT", 200)
    monkeypatch.setattr(index_module, "_NARROW", 50)


def neighbours(
    vectors: np.ndarray, queries: np.ndarray, k: int, metric: str = "cosine"
) -> tuple[np.ndarray, np.ndarray]:
    """By the definition, in float64."""
    a, b = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "cosine":
        a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    scores = -np.linalg.norm(a[:, None] - b[None], axis=2) if metric == "l2" else a @ b.T
    best = np.argsort(-scores, axis=1)[:, :k]
    return best, np.take_along_axis(scores, best, 1)


def share_found(ids: list[list[str]], wanted: np.ndarray) -> float:
    return float(
        np.mean([len({int(i) for i in a} & set(b.tolist())) / len(b) for a, b in zip(ids, wanted, strict=True)])
    )


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_a_built_index_finds_what_it_promises(metric: str, vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors, failed=(5,))
    said: list[str] = []
    index = Index.build(store, metric=metric, recall=0.9, progress=said.append)
    assert index.facts is not None
    assert index.facts.trial.recall.low >= 0.9
    assert index.facts.trial.factory != "Flat"
    assert len(index.facts.trials) == len(said) >= 3
    rng = np.random.default_rng(9)
    queries = vectors[rng.choice(N, 100)].astype(np.float32) + rng.normal(0, 0.3, (100, DIM)).astype(np.float32)
    wanted, scores = neighbours(np.delete(vectors, 5, axis=0), queries, 10, metric)
    wanted += wanted >= 5
    found = index.search(queries, 10)
    assert share_found(found.ids, wanted) >= 0.85
    right = found.scores[:, 0] >= scores[:, 0] - 0.02 * np.abs(scores[:, 0])
    assert right.mean() > 0.9
    assert (np.diff(found.scores, axis=1) <= 1e-6).all()


@pytest.mark.slow
def test_an_index_survives_saving_and_loading_and_leaves_the_store_readable(
    vectors: np.ndarray, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "store", vectors)
    index = Index.build(store)
    folder = index.save()
    loaded = Index.load(tmp_path / "store")
    assert loaded.fresh
    for ours, theirs in zip(index.search(vectors[:20]).ids, loaded.search(vectors[:20]).ids, strict=True):
        assert ours == theirs
    assert folder == tmp_path / "store" / "_index"
    assert ds.dataset(tmp_path / "store").count_rows() == N
    assert len(FeatureStore.open(tmp_path / "store")) == N


def test_exact_search_needs_no_index(vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors[:300], failed=(0,))
    for metric in ("cosine", "ip", "l2"):
        found = Index.exact(store, metric).search(vectors[10:12], 5)
        wanted, scores = neighbours(vectors[1:300], vectors[10:12], 5, metric)
        assert [[int(i) for i in row] for row in found.ids] == (wanted + 1).tolist()
        np.testing.assert_allclose(found.scores, scores, rtol=1e-3, atol=0.05 if metric == "l2" else 1e-3)
    assert Index.exact(store).search(vectors[10], 1).ids == [["000010"]]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.003, 0.01, 0.3, 0.9])
def test_a_filter_is_right_wide_and_narrow(share: float, vectors: np.ndarray, tmp_path: Path) -> None:
    labels: list[str | None] = ["in" if x < share else "out" for x in np.random.default_rng(1).random(N)]
    index = Index.build(write_store(tmp_path / "store", vectors, labels=labels), recall=0.95)
    inside = np.flatnonzero(np.array(labels) == "in")
    found = index.search(vectors[:100], 10, where="label == 'in'")
    best, _ = neighbours(vectors[inside], vectors[:100], min(10, len(inside)))
    assert all(labels[int(i)] == "in" for row in found.ids for i in row)
    assert share_found(found.ids, inside[best]) >= (1.0 if len(inside) <= 50 else 0.93)


@pytest.mark.slow
def test_an_update_adds_and_removes_only_what_changed(vectors: np.ndarray, tmp_path: Path) -> None:
    ids = [f"{i:06d}" for i in range(N)]
    write_store(tmp_path / "store", vectors[: N - 100])
    built = Index.build(tmp_path / "store", recall=0.99)  # five queries say little of 0.95
    built.save()
    changed = vectors.copy()
    changed[7] = -vectors[7]
    hashes = [f"hash {key}" for key in ids]
    hashes[7] = "another"
    kept = [i for i in range(N) if i not in (3, 4)]
    store = write_store(
        tmp_path / "store", changed[kept], ids=[ids[i] for i in kept], rows=kept, hashes=[hashes[i] for i in kept]
    )
    stale = Index.load(store)
    assert not stale.fresh
    with pytest.raises(StoreError, match="has changed since it was indexed"):
        stale.search(vectors[:1])
    said: list[str] = []
    report = make_index(tmp_path / "store", progress=said.append)
    assert report.done == "updated"
    assert said[0] == "101 rows to add, 3 to remove; the others stay as they are"
    assert [each.partition(":")[0] for each in said[1:]] == ["measured again"]
    assert report.facts.trial.recall.at_10 >= 0.9
    assert (report.facts.added, report.facts.removed, report.rows) == (101, 3, N - 2)
    index = Index.load(store)
    assert index.fresh
    queries = changed[[3, 4, 7, N - 1, 50]]
    best, _ = neighbours(changed[kept], queries, 10)
    found = index.search(queries, 10)
    assert share_found(found.ids, np.array(kept)[best]) >= 0.9
    assert [row[0] for row in found.ids[2:]] == ["000007", f"{N - 1:06d}", "000050"]
    assert not {"000003", "000004"} & {key for row in found.ids for key in row}
    assert index.search(vectors[7], 5).ids[0].count("000007") == 0
    assert make_index(tmp_path / "store").done == "unchanged"


@pytest.mark.slow
def test_a_store_that_changed_much_is_indexed_anew_and_says_so(vectors: np.ndarray, tmp_path: Path) -> None:
    write_store(tmp_path / "store", vectors[:1000])
    make_index(tmp_path / "store", recall=0.9)
    write_store(tmp_path / "store", vectors[:1300])
    said: list[str] = []
    report = make_index(tmp_path / "store", progress=said.append)
    assert said[0] == "300 rows came, went or changed since the index was trained on 900: a full rebuild"
    assert (report.facts.added, report.facts.wanted.recall, report.rows) == (0, 0.9, 1300)


def test_a_renamed_row_needs_no_update(vectors: np.ndarray, tmp_path: Path) -> None:
    write_store(tmp_path / "store", vectors[:20], hashes=[str(i) for i in range(20)])
    Index.build(tmp_path / "store").save()
    ids = [f"{i:06d}" for i in range(20)]
    ids[0] = "zzz"
    order = [*range(1, 20), 0]
    store = write_store(
        tmp_path / "store", vectors[order], ids=[ids[i] for i in order], rows=order, hashes=[str(i) for i in order]
    )
    index = Index.load(store)
    assert index.fresh
    assert index.search(vectors[[0, 5]], 1).ids == [["zzz"], ["000005"]]


@pytest.mark.slow
def test_rows_beyond_the_sample_are_added_and_measured(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "_SAMPLE_BYTES", 4 * DIM * 1200)
    said: list[str] = []
    index = Index.build(write_store(tmp_path / "store", vectors), factory="IVF32,SQ8", recall=0.9, progress=said.append)
    assert said[-1] == f"adding the other {N - 200 - 1200} rows to IVF32,SQ8"
    assert index.facts is not None
    assert index.facts.trial.rows == N - 200
    assert share_found(index.search(vectors[:200], 10).ids, neighbours(vectors, vectors[:200], 10)[0]) >= 0.9


def test_zero_vectors_are_left_out_by_cosine_and_found_last(vectors: np.ndarray, tmp_path: Path) -> None:
    base = vectors[:600].copy()
    base[[2, 300]] = 0
    index = Index.build(write_store(tmp_path / "store", base), factory="IVF8,Flat", recall=0.99)
    best, _ = neighbours(np.delete(base, [2, 300], axis=0), vectors[:50], 10)
    best += best >= 2
    best += best >= 300
    queries = np.delete(np.arange(50), 2)
    assert share_found(index.search(vectors[queries], 10).ids, best[queries]) >= 0.97
    assert len(set(index.search(vectors[:1], 600).ids[0])) == 600


def test_given_queries_are_what_it_is_tuned_on(vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors[:1000])
    index = Index.build(store, factory="IVF32,Flat", queries=vectors[2000:2100])
    assert index.facts is not None
    assert index.facts.queries == "100 given queries"
    assert index.facts.trial.rows == 1000


def test_one_row_is_a_store_too(tmp_path: Path) -> None:
    index = Index.build(write_store(tmp_path / "store", np.ones((1, 4))))
    assert index.search(np.ones(4), 1).ids == [["000000"]]


def test_what_cannot_be_indexed_or_asked(vectors: np.ndarray, tmp_path: Path) -> None:
    empty = write_store(tmp_path / "empty", vectors[:2], failed=(0, 1))
    with pytest.raises(StoreError, match=r"No row of .*empty has a vector: there is nothing to search"):
        Index.build(empty)
    with pytest.raises(StoreError, match="there is nothing to search"):
        Index.exact(empty)
    store = write_store(tmp_path / "store", vectors[:50])
    with pytest.raises(InputError, match="FAISS cannot make 'HNSWW'"):
        Index.build(store, factory="HNSWW")
    with pytest.raises(InputError, match="FAISS cannot make 'IVF4096,Flat' of 45 vectors"):
        Index.build(store, factory="IVF4096,Flat")
    with pytest.raises(InputError, match=r"must be \[n, 24\]. Got an array of shape \[2, 3\]"):
        Index.build(store, queries=np.ones((2, 3)))
    with pytest.raises(InputError, match="fits into 1000 bytes"):
        Index.build(store, memory=1000)
    with pytest.raises(StoreError, match=r"has no index. `fxengine index"):
        Index.load(store)
    with pytest.raises(StoreError, match="no layer 'block9'"):
        Index.exact(store, layer="block9")
    index = Index.exact(store)
    with pytest.raises(InputError, match=r"k must be between 1 and 50, the rows of .*store. Got 51"):
        index.search(vectors[:1], 51)
    with pytest.raises(InputError, match=r"must have 24 numbers. Got an array of shape \[1, 3\]"):
        index.search(np.ones((1, 3)))
    with pytest.raises(InputError, match=r"leaves none of the 50 rows"):
        index.search(vectors[:1], where="label == 'cats'")
    with pytest.raises(InputError, match="no index to save"):
        index.save()


def test_an_index_of_another_space_is_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    write_store(tmp_path / "one", vectors[:50])
    other = write_store(tmp_path / "other", vectors[:50], space="t" * 64)
    Index.build(tmp_path / "one").save(tmp_path / "other" / "_index")
    before = (tmp_path / "other" / "_index" / "index.json").read_text()
    with pytest.raises(StoreError, match=r"is of feature space ssssssssssss, not of tttttttttttt. .*--rebuild"):
        Index.load(other)
    with pytest.raises(StoreError, match="is of feature space"):
        make_index(tmp_path / "other")
    assert (tmp_path / "other" / "_index" / "index.json").read_text() == before
    assert make_index(tmp_path / "other", rebuild=True).done == "built"
    assert Index.load(other).fresh


def test_the_same_wishes_again_change_nothing_and_others_build_anew(vectors: np.ndarray, tmp_path: Path) -> None:
    write_store(tmp_path / "store", vectors[:100])
    assert make_index(tmp_path / "store", recall=0.9).done == "built"
    assert make_index(tmp_path / "store", recall=0.9).done == "unchanged"
    assert make_index(tmp_path / "store").done == "unchanged"
    assert make_index(tmp_path / "store", metric="l2").done == "built"
    assert Index.load(tmp_path / "store").metric == "l2"


def test_no_index_is_tried_any_more_once_the_time_is_up(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "_TRYING", 0.0)
    said: list[str] = []
    index = Index.build(write_store(tmp_path, vectors), recall=0.9, progress=said.append)
    assert index.facts is not None
    assert len(index.facts.trials) == 1
    assert any(line.startswith("0 s are up; not tried: ") for line in said)


@pytest.mark.parametrize(
    "factory", ["LSH", "IDMap,Flat", "IDMap2,HNSW16", "PQ8", "NSG16", "RQ4x4", "PQ8x4fs,Refine(Flat)"]
)
def test_an_index_that_cannot_serve_here_is_refused_in_a_sentence(
    factory: str, vectors: np.ndarray, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "store", vectors[:900])
    with pytest.raises(InputError, match="does not serve here, where vectors have no ids") as raised:
        Index.build(store, factory=factory)
    assert "faiss::" not in str(raised.value)
    with pytest.raises(InputError, match="FAISS cannot make 'BFlat'") as raised:
        Index.build(store, factory="BFlat")
    assert "faiss::" not in str(raised.value)


def test_a_cosine_does_not_depend_on_the_length_of_the_query(vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors)
    for index in (Index.exact(store), Index.build(store, factory="IVF16,Flat", recall=0.9)):
        queries = vectors[:4].astype(np.float32)
        right = index.search(queries)
        for scale in (1e20, 1e-30):
            found = index.search(queries * np.float32(scale))
            assert found.ids == right.ids
            np.testing.assert_allclose(found.scores, right.scores, atol=2e-6)


def test_a_query_without_neighbours_is_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors)
    queries = np.stack([vectors[0], np.zeros(DIM), vectors[1]]).astype(np.float32)
    with pytest.raises(InputError, match=r"Query 1 is a vector of zeros: by cosine nothing is near it"):
        Index.exact(store).search(queries)
    assert len(Index.exact(store, "l2").search(queries).ids) == 3
    queries[1, 0] = np.nan
    with pytest.raises(InputError, match="Query 1 has a value that is not a finite number"):
        Index.exact(store, "l2").search(queries)
    with pytest.raises(InputError, match="too large to compare by l2"):
        Index.exact(store, "l2").search(vectors[:1].astype(np.float32) * np.float32(1e20))


@pytest.mark.parametrize("factory", ["L2norm,Flat", "Pad40,Flat", "PCA8,IVF8,SQ8"])
def test_an_index_that_was_built_can_be_read_back(factory: str, vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors[:900])
    built = Index.build(store, factory=factory, recall=0.1)
    built.save()
    assert Index.load(store).search(vectors[:3]).ids == built.search(vectors[:3]).ids


def test_a_graph_of_fewer_than_two_links_is_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors[:900])
    for factory in ("HNSW0", "HNSW1", "IVF4_HNSW0,Flat", "IVF4_HNSW01,Flat"):
        with pytest.raises(InputError, match="a graph of fewer than two links a vector"):
            Index.build(store, factory=factory)


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["IVF64,Flat", "HNSW16,Flat", "PCA16,IVF64,SQ8,Refine(SQfp16)"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_what_it_promises_at_ten_holds_at_more(factory: str, metric: str, vectors: np.ndarray, tmp_path: Path) -> None:
    index = Index.build(write_store(tmp_path / "store", vectors), metric=metric, factory=factory, recall=0.95)
    assert index.facts is not None
    rng = np.random.default_rng(8)
    queries = vectors[rng.choice(N, 60)].astype(np.float32) + rng.normal(0, 0.3, (60, DIM)).astype(np.float32)
    for k in (10, 100, 500):
        wanted, _ = neighbours(vectors, queries, k, metric)
        assert share_found(index.search(queries, k).ids, wanted) >= index.facts.trial.recall.low - 0.03, k
