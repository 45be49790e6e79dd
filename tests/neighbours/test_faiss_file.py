"""What FAISS would follow, or would end the process at, is told in a sentence before FAISS reads the file."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from fxengine import Index, StoreError
from fxengine.facts import FactsError
from fxengine.neighbours import choose
from fxengine.neighbours.choose import known_indexes
from fxengine.neighbours.faiss_file import look
from tests.stores import write_store

N, DIM, L2 = 600, 24, faiss.METRIC_L2
OF_USERS = [
    *("Flat", "IVF16_HNSW8,Flat", "IVF300,SQ4", "OPQ4_16,IVF8,PQ4x4", "IVF8,PQ3x4fs", "IVF8,PQ4x4fs_64", "SQ6"),
    *("L2norm,Flat", "Pad40,SQ8", "RR,HNSW4", "PCAR8,Flat", "HNSW8_SQfp16", "IVF8(HNSW8),Flat", "SQ8,RFlat"),
]


def _kinds() -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "FLAT_ROWS", 0)
        patch.setattr(choose, "_PCA_DIM", 16)
        return [kind.factory for kind in known_indexes(N, DIM, "cosine")]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(N, DIM)).astype(np.float32)


def made(factory: str, vectors: np.ndarray, metric: int = L2) -> Any:
    index = faiss.index_factory(DIM, factory, metric)
    index.train(vectors)
    index.add(vectors)
    return index


def look_at(index: Any, dim: int = DIM, total: int = N, metric: int = L2, more: bytes = b"") -> None:
    look(io.BytesIO(faiss.serialize_index(index).tobytes() + more), dim, total, metric)


@pytest.mark.parametrize("metric", [L2, faiss.METRIC_INNER_PRODUCT])
@pytest.mark.parametrize("factory", [*_kinds(), *OF_USERS])
def test_what_is_built_is_read_back_full_and_empty(factory: str, metric: int, vectors: np.ndarray) -> None:
    index = made(factory, vectors, metric)
    look_at(index, metric=metric)
    with pytest.raises(FactsError, match="is damaged: more follows at its end"):
        look_at(index, metric=metric, more=b"x")
    index.reset()
    look_at(index, total=0, metric=metric)
    index.add(vectors[:1])
    look_at(index, total=1, metric=metric)


def values(vector: Any) -> np.ndarray:
    """Return a C++ vector of an index as an array that can be written to."""
    found: np.ndarray = faiss.rev_swig_ptr(vector.data(), vector.size())
    return found


def inner(index: Any) -> Any:
    return faiss.downcast_index(index.index)


def repeat_a_number(index: Any) -> None:
    list_ids(index)[1] = list_ids(index)[0]


def list_ids(index: Any) -> np.ndarray:
    found: np.ndarray = faiss.rev_swig_ptr(index.invlists.get_ids(0), index.invlists.list_size(0))
    return found


def set_to(name: str, value: object) -> Callable[[Any], None]:
    """Return what sets `a.b` of an index to a value."""

    def change(index: Any) -> None:
        *path, last = name.split(".")
        for step in path:
            index = getattr(index, step)
        setattr(index, last, value)

    return change


def put(where: Callable[[Any], np.ndarray], at: int, value: float) -> Callable[[Any], None]:
    """Return what writes a number into an array of an index."""

    def change(index: Any) -> None:
        where(index)[at] = value

    return change


def of_pca(index: Any) -> np.ndarray:
    return values(faiss.downcast_VectorTransform(index.chain.at(0)).A)


LIES: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "a link that leads nowhere": ("HNSW8", put(lambda i: values(i.hnsw.neighbors), 3, 2**30), "leads nowhere"),
    "a link below none": ("HNSW8", put(lambda i: values(i.hnsw.neighbors), 3, -2), "leads nowhere"),
    "a first vertex that is not there": ("HNSW8", set_to("hnsw.entry_point", 10**6), "begins nowhere"),
    "no first vertex": ("HNSW8", set_to("hnsw.entry_point", -1), "begins nowhere"),
    "a level too high": ("HNSW8", set_to("hnsw.max_level", 9), "begins nowhere"),
    "a vertex at no level": ("HNSW8", put(lambda i: values(i.hnsw.levels), 5, 0), "at no level"),
    "a vertex above all levels": ("HNSW8", put(lambda i: values(i.hnsw.levels), 5, 99), "at no level"),
    "links elsewhere": ("HNSW8", put(lambda i: values(i.hnsw.offsets), 5, 2**40), "not where they must be"),
    "more links than there are": (
        "HNSW8", put(lambda i: values(i.hnsw.cum_nneighbor_per_level), 1, 2**30), "no right number of links"),
    "odd shares of levels": ("HNSW8", put(lambda i: values(i.hnsw.assign_probas), 0, 0), "that FAISS does not make"),
    "a graph that visits all": ("HNSW8", set_to("hnsw.efSearch", 2**31 - 1), "visits 2147483647 vertices"),
    "a graph that adds for ever": ("HNSW8", set_to("hnsw.efConstruction", 2**30), "visits 1073741824 vertices"),
    "a number out of range": ("IVF4,SQ8", put(list_ids, 0, N), "each of its 600 vectors once"),
    "a number below 0": ("IVF4,PQ8x4fs", put(list_ids, 0, -1), "each of its 600 vectors once"),
    "a number twice": ("IVF4,Flat", repeat_a_number, "each of its 600 vectors once"),
    "a map of the vectors": ("IVF4,Flat", lambda i: i.make_direct_map(), "has a map of its vectors"),
    "no list": ("IVF4,Flat", set_to("nprobe", 0), "visits 0 of 4 lists"),
    "more lists than there are": ("IVF4,Flat", set_to("nprobe", 2**40), "visits 1099511627776 of 4 lists"),
    "another metric": ("Flat", set_to("metric_type", 0), "metric is 0, not 1"),
    "another metric inside": ("IVF4,Flat", set_to("quantizer.metric_type", 0), "metric is 0, not 1"),
    "more vectors than numbers": ("Flat", set_to("ntotal", N + 1), "holds 601 vectors where there must be 600"),
    "fewer vectors inside": ("SQ8,RFlat", set_to("base_index.ntotal", N - 1), "holds 599 vectors where there must be"),
    "fewer centres than lists": ("IVF4,Flat", set_to("quantizer.ntotal", 3), "holds 3 vectors where there must be 4"),
    "shorter vectors inside": ("IVF4,Flat", set_to("quantizer.d", 8), "vectors of 8 numbers where they must have 24"),
    "an untrained index": ("IVF4,SQ8", set_to("is_trained", False), "was not trained"),
    "another kind of numbers": ("SQ8", set_to("sq.qtype", 4), "a scalar quantizer of it is not of 24 numbers"),
    "a kind of numbers that is none": ("SQ8", set_to("sq.qtype", 99), "there is no scalar quantizer 99"),
    "parts that do not fit": ("IVF4,PQ8x4", set_to("pq.M", 7), "7 parts of 4 bits does not fit 24 numbers"),
    "odd blocks": ("IVF4,PQ8x4fs", set_to("bbs", 33), "blocks are of 33 vectors"),
    "another way to search": ("IVF4,PQ8x4fs", set_to("implem", 77), "a vector of it is not of 4 bytes"),
    "a PCA of no number": ("PCA8,Flat", put(of_pca, 0, np.nan), "not finite"),
    "a second look without end": ("SQ8,RFlat", set_to("k_factor", 1e9), "looks again at more"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(lie: str, vectors: np.ndarray) -> None:
    factory, change, says = LIES[lie]
    index = made(factory, vectors)
    change(index)
    with pytest.raises(FactsError, match=f"is damaged: .*{says}"):
        look_at(index)


@pytest.mark.parametrize("factory", ["LSH", "PQ8np", "IDMap,Flat", "NSG16", "IVF4,Flat,Refine(PQ8np)", "ITQ8,Flat"])
def test_other_kinds_are_named(factory: str, vectors: np.ndarray) -> None:
    index = faiss.index_factory(DIM, factory)
    index.train(vectors)
    with pytest.raises(
        FactsError, match=r"holds (an index|a transform) of the kind '....', which `fxengine index` doe"
    ):
        look_at(index, total=0)


def test_indexes_within_each_other_without_end_are_refused(vectors: np.ndarray) -> None:
    index = faiss.IndexFlatL2(DIM)
    kept = [index]
    for _ in range(40):
        index = faiss.IndexPreTransform(faiss.NormalizationTransform(DIM, 2), index)
        kept.append(index)
    with pytest.raises(FactsError, match="lie too deep in each other"):
        look_at(index, total=0)


@pytest.mark.parametrize("step", [1, 7])
def test_a_file_that_ends_too_early_is_refused(step: int, vectors: np.ndarray) -> None:
    data = faiss.serialize_index(made("PCA8,IVF4,SQ8,RFlat", vectors[:40])).tobytes()
    for length in range(0, len(data), 97 * step):
        with pytest.raises(FactsError, match="is damaged"):
            look(io.BytesIO(data[:length]), DIM, 40, L2)


def on_disk(index: Any, victim: Path) -> Any:
    """Return an inverted index whose lists are in a file of their own."""
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(victim))
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        lists.add_entries(number, size, index.invlists.get_ids(number), index.invlists.get_codes(number))
    index.replace_invlists(lists, True)
    lists.this.disown()
    return index


@pytest.mark.parametrize("where", ["lists", "lists of the quantizer"])
def test_a_file_of_the_user_that_an_index_names_is_neither_opened_nor_written(
    where: str, vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The received index has its lists in a file that the user has, by its path, and the hash that fits it."""
    victim, store = tmp_path / "thesis.txt", tmp_path / "store"
    write_store(store, vectors, dtype="float32")
    Index.build(store, factory="IVF4,Flat", recall=0.5).save()
    folder = store / "_index"
    received = faiss.read_index(str(folder / "index.faiss"))
    if where == "lists":
        received = on_disk(received, victim)
    else:
        centres = on_disk(made("IVF4,Flat", vectors), victim)
        received = faiss.IndexIVFFlat(centres, DIM, N, L2)
        received.train(vectors)
        received.add(vectors)
    faiss.write_index(received, str(folder / "index.faiss"))
    facts = json.loads((folder / "index.json").read_text())
    facts["hashes"]["index.faiss"] = hashlib.sha256((folder / "index.faiss").read_bytes()).hexdigest()
    (folder / "index.json").write_text(json.dumps(facts))
    victim.unlink()
    victim.write_bytes(b"my thesis " * 40_000)
    monkeypatch.setattr(faiss, "read_index", lambda *_: pytest.fail("FAISS opened it"))
    with pytest.raises(StoreError, match=r"index.faiss (is damaged: its lists are of the kind 'ilod'|holds an index)"):
        Index.load(store)
    assert victim.read_bytes() == b"my thesis " * 40_000
