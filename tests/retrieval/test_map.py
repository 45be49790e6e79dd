from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA

from fxengine import Index, InputError, StoreError
from fxengine.retrieval import map as map_module
from fxengine.retrieval.cluster import cluster
from fxengine.retrieval.map import map as make_map
from fxengine.ui.cli import main
from tests.stores import write_store


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(5)
    made = rng.normal(0, 1, (3, 12))[np.arange(90) % 3] + rng.normal(0, 0.2, (90, 12))
    made[17] = rng.normal(0, 3, 12)
    return made.astype(np.float32)


@pytest.fixture
def store(vectors: np.ndarray, tmp_path: Path) -> Path:
    labels: list[str | None] = [["a", "b", None][i % 3] for i in range(90)]
    write_store(tmp_path / "store", vectors, labels=labels, dtype="float32", failed=(88, 89))
    return tmp_path / "store"


def unit(vectors: np.ndarray) -> np.ndarray:
    v = vectors[:88].astype(np.float64)
    return np.asarray(v / np.linalg.norm(v, axis=1, keepdims=True))


def test_places_are_the_principal_components(store: Path, vectors: np.ndarray) -> None:
    report = make_map(store)
    reference = PCA(2, svd_solver="full").fit(unit(vectors))
    places = np.stack([report.table["x"].to_numpy(), report.table["y"].to_numpy()], axis=1)
    wanted = reference.transform(unit(vectors))
    np.testing.assert_allclose(np.abs(places), np.abs(wanted), atol=1e-5)
    assert report.explained == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-5)


def test_neighbours_and_outliers_are_exact(store: Path, vectors: np.ndarray) -> None:
    table = make_map(store, k=4).table
    distance = 1 - unit(vectors) @ unit(vectors).T
    np.fill_diagonal(distance, np.inf)
    wanted = np.argsort(distance, axis=1)[:, :4]
    assert [row["ids"] for row in table["neighbors"].to_pylist()] == wanted.tolist()
    near = np.take_along_axis(distance, wanted, 1)
    np.testing.assert_allclose([row["distances"] for row in table["neighbors"].to_pylist()], near, atol=1e-5)
    np.testing.assert_allclose(table["outlier"].to_numpy(), near[:, -1], atol=1e-5)
    assert make_map(store, k=4).outliers(1)[0]["id"] == "000017"


def test_copies_never_count_themselves_as_neighbours(tmp_path: Path) -> None:
    write_store(tmp_path / "store", np.repeat(np.eye(2, 8), 20, axis=0))
    for i, row in enumerate(make_map(tmp_path / "store", k=5).table["neighbors"].to_pylist()):
        assert i not in row["ids"]
        assert len(set(row["ids"])) == 5


def test_an_index_finds_the_neighbours_where_there_is_one_or_are_many_rows(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exactly = make_map(store, k=3).table["neighbors"].to_pylist()
    monkeypatch.setattr(map_module, "ALL_PAIRS", 10)
    said: list[str] = []
    by_lists = make_map(store, k=3, progress=said.append).table["neighbors"].to_pylist()
    assert said == ["neighbours by 8 of 32 lists: 100.0% of the exact ones"]
    same = [len(set(a["ids"]) & set(b["ids"])) / 3 for a, b in zip(exactly, by_lists, strict=True)]
    assert np.mean(same) > 0.99
    for a, b in zip(exactly, by_lists, strict=True):
        np.testing.assert_allclose(a["distances"], b["distances"], atol=2e-6)
    Index.build(store).save()
    by_index = make_map(store, k=3, progress=said.append).table["neighbors"].to_pylist()
    assert [row["ids"] for row in by_index] == [row["ids"] for row in exactly]
    assert len(said) == 1


def test_one_row_and_none(tmp_path: Path) -> None:
    write_store(tmp_path / "one", np.ones((1, 3)))
    row = make_map(tmp_path / "one").table.to_pylist()[0]
    assert (row["x"], row["y"], row["neighbors"], row["outlier"]) == (0, 0, {"ids": [], "distances": []}, 0)
    write_store(tmp_path / "none", np.ones((1, 3)), failed=(0,))
    for work in (lambda: make_map(tmp_path / "none"), lambda: cluster(tmp_path / "none", 1)):
        with pytest.raises(StoreError, match="there is nothing to search"):
            work()


def test_a_method_that_is_not_there(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no `method` 'tsne'. There is: pca, umap"):
        make_map(store, method="tsne")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"pip install 'fxengine\[umap\]'"):
        make_map(store, method="umap")


def test_umap_is_given_unit_vectors_and_a_seed(
    store: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faked: compiling the real one takes half a minute."""
    given: dict[str, Any] = {}

    class Umap:
        def __init__(self, **options: Any) -> None:
            given.update(options)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            np.testing.assert_allclose(x, unit(vectors), atol=1e-5)
            return x[:, :2].astype(np.float64)

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    report = make_map(store, method="umap")
    assert given == {"metric": "cosine", "n_neighbors": 15, "random_state": 0, "n_jobs": 1}
    np.testing.assert_allclose(report.table["x"].to_numpy(), unit(vectors)[:, 0], atol=1e-5)
    assert (report.method, report.explained) == ("umap", None)


def test_clusters_are_the_clouds(store: Path) -> None:
    report = cluster(store, 3)
    assert [c.rows for c in report.clusters] == sorted((c.rows for c in report.clusters), reverse=True)
    assert sum(c.rows for c in report.clusters) == 88
    assert {c.label for c in report.clusters} == {"a", "b", None}
    assert all(c.share > 0.95 for c in report.clusters)
    rows = report.table.to_pylist()
    assert [row["id"] for row in rows if row["medoid"]] == sorted(c.medoid for c in report.clusters)
    for c in report.clusters:
        mine = [row["distance"] for row in rows if row["cluster"] == c.number]
        assert c.spread == pytest.approx(np.mean(mine), abs=1e-5)
    with pytest.raises(InputError, match=r"`k` must be between 1 and 88, .* Got 89"):
        cluster(store, 89)


def test_the_commands(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, png = tmp_path / "m.parquet", tmp_path / "m.png"
    assert main(["map", str(store), "-o", str(out), "--png", str(png)]) == 0
    shown = capsys.readouterr().out
    assert "88 rows by pca" in shown
    assert "000017" in shown
    assert pq.read_table(out).column_names == ["id", "label", "split", "x", "y", "neighbors", "outlier"]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert main(["map", str(store), "-o", "m.csv"]) == 1
    assert "m.csv must end in .parquet, .json" in capsys.readouterr().err
    assert main(["cluster", str(store), "-k", "3", "--json", "-o", str(tmp_path / "c.csv")]) == 0
    assert len(json.loads(capsys.readouterr().out)["clusters"]) == 3
    assert main(["cluster", str(store), "-k", "3", "--html", str(tmp_path / "c.html")]) == 0
    assert (tmp_path / "c.html").read_text().count("<h2>") == 3


def test_what_cannot_be_is_said_before_the_store_is_opened(tmp_path: Path) -> None:
    for k in (0, "3"):
        with pytest.raises(InputError, match="`k` must be"):
            make_map(tmp_path, k=k)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="`k` must be"):
            cluster(tmp_path, k)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"`seed` must be between 0 and 4294967295\. Got -1"):
        cluster(tmp_path, 2, seed=-1)
    with pytest.raises(InputError, match=r"There is no `method` 'tsne'\. There is: pca, umap\."):
        make_map(tmp_path, method="tsne")


def test_clusters_of_any_seed(store: Path) -> None:
    report = cluster(store, 2, seed=2**32 - 1)
    assert report.to_dict()["root"] == report.root
