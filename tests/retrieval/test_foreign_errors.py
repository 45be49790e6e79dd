"""What FAISS, UMAP, Arrow and the system raise while a store is looked through becomes one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fxengine import Index, InputError, StoreError
from fxengine.neighbours import index as index_module
from fxengine.retrieval.cluster import cluster
from fxengine.retrieval.duplicates import duplicates
from fxengine.retrieval.map import map as make_map
from tests.stores import write_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(tmp_path / "store", np.random.default_rng(4).normal(size=(60, 8)))
    return tmp_path / "store"


def failing(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


MEMORY, FAISS = MemoryError("std::bad_alloc"), RuntimeError("Error in faiss::Clustering: no space")
CASES: dict[str, tuple[str, Exception, Callable[[Path], object], str]] = {
    "cluster": ("fxengine.retrieval.cluster.kmeans", MEMORY, lambda s: cluster(s, 3),
                r"store cannot be parted into 3 clusters: there is not enough memory\. Free memory, or ask for fewer"),
    "cluster by FAISS": ("fxengine.retrieval.cluster.kmeans", FAISS, lambda s: cluster(s, 3),
                         r"store cannot be parted into 3 clusters: Error in faiss::Clustering: no space\."),
    "duplicates": ("fxengine.retrieval.duplicates.whiten", MEMORY, duplicates,
                   r"store cannot be looked through for duplicates: there is not enough memory\. Free memory"),
    "map": ("fxengine.retrieval.map._pca", MEMORY, make_map,
            r"store cannot be laid out: there is not enough memory\. Free memory"),
    "exact search": ("fxengine.neighbours.index.exact_search", MEMORY, lambda s: Index.exact(s).search(np.ones(8), 3),
                     r"store cannot be searched: there is not enough memory\. Free memory, or ask less at once"),
    "index": ("fxengine.neighbours.builder.faiss_build.add", MEMORY, Index.build,
              r"store cannot be indexed: there is not enough memory\. Free memory, or ask for an index that"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_foreign_error_is_told_in_a_sentence(case: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, error, work, says = CASES[case]
    monkeypatch.setattr(name, failing(error))
    with pytest.raises(StoreError, match=says):
        work(store)


def test_an_index_that_cannot_be_searched_or_updated_says_why_and_is_kept(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_NARROW", 0)
    built = Index.build(store)
    built.save()
    before = {path.name: path.read_bytes() for path in (store / "_index").iterdir()}
    said = "Error in virtual void faiss::IndexFlat::search(idx_t) at /f/I.cpp:12: Error: 'k > 0' failed: too many"
    monkeypatch.setattr(built._faiss, "search", failing(RuntimeError(said)))
    with pytest.raises(StoreError, match=r"store cannot be searched: too many\. Free memory, or ask less at once\.$"):
        built.search(np.ones(8), 3)
    monkeypatch.setattr(index_module, "update", failing(MEMORY))
    with pytest.raises(StoreError, match=r"The index of .*store cannot be updated: there is not enough memory\."):
        Index.load(store).update()
    assert {path.name: path.read_bytes() for path in (store / "_index").iterdir()} == before


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("n_neighbors must be greater than 1"), "n_neighbors must be greater than 1"),
        (RuntimeError("cannot cache function 'f': no locator available\nmore"), "cannot cache function 'f': no loc"),
        (MEMORY, "there is not enough memory"),
        (KeyError(), "KeyError"),
    ],
)
def test_whatever_umap_raises_is_told_in_a_sentence(
    error: Exception, says: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=failing(error)))
    with pytest.raises(StoreError, match=f"UMAP cannot lay them out: {says}.*. The `method` pca always can."):
        make_map(store, method="umap")


def test_a_umap_that_cannot_be_loaded_is_another_one_than_none(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "umap.py").write_text('raise ImportError("libllvmlite.so: failed to map segment", name="llvmlite")')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    with pytest.raises(StoreError, match=r"UMAP cannot be loaded: llvmlite cannot be loaded: libllvmlite.so: failed"):
        make_map(store, method="umap")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match="UMAP is not installed"):
        make_map(store, method="umap")
