from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from fxengine.errors import InputError
from fxengine.neighbours.choose import Wanted, candidates, cells
from fxengine.neighbours.index_store import index
from fxengine.neighbours.metric import faiss_metric
from tests.stores import write_store


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("dim", [8, 50, 256, 384, 1280])
@pytest.mark.parametrize("rows", [10, 10_001, 100_000, 10_000_000])
def test_faiss_knows_every_candidate(rows: int, dim: int, metric: str) -> None:
    for candidate in candidates(rows, dim, metric):
        made = faiss.index_factory(dim, candidate.factory, faiss_metric(metric))
        assert made.d == dim
        assert metric != "ip" or "PCA" not in candidate.factory


def test_few_rows_are_scanned_and_many_are_not() -> None:
    assert [c.factory for c in candidates(10_000, 1280, "cosine")] == ["Flat"]
    assert [c.factory for c in candidates(100_000, 1280, "cosine")] == [
        "PCA256,HNSW32_SQ8,Refine(SQfp16)",
        "PCA256,IVF1024,PQ128x4fs,Refine(SQfp16)",
        "IVF1024,SQ8",
        "IVF1024,Flat",
    ]
    assert candidates(20_000, 1280, "cosine")[0].factory == "PCA256,Flat,Refine(SQfp16)"


def test_what_does_not_fit_is_left_out_and_a_coarser_second_look_taken() -> None:
    few = candidates(1_000_000, 1280, "cosine", memory=2_000_000_000)
    assert [c.factory for c in few] == [
        "PCA256,HNSW32_SQ8,Refine(SQ8)",
        "PCA256,IVF4096,PQ128x4fs,Refine(SQ8)",
        "IVF4096,SQ8",
        "PCA256,IVF4096,SQ8",
    ]
    smallest = candidates(1_000_000, 1280, "cosine", memory=100_000_000)
    assert [c.factory for c in smallest] == ["PCA256,IVF4096,PQ128x4fs"]
    with pytest.raises(InputError, match=r"fits into 1000 bytes: the smallest takes 72000000"):
        candidates(1_000_000, 1280, "cosine", memory=1000)


def test_cells_are_a_power_of_two_near_four_roots() -> None:
    assert [cells(n) for n in (10_000, 100_000, 1_000_000)] == [512, 1024, 4096]


def test_a_wish_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"between 0 and 1. Got 1.5"):
        Wanted(recall=1.5)
    with pytest.raises(InputError, match=r"There is no `metric` 'dot'. There is: cosine, ip, l2"):
        Wanted(metric="dot")


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("IVF2000000,Flat", "is too large: at most 1048576 lists or numbers, 512 links a vector and 16 bits"),
        ("HNSW4096", "is too large"),
        ("IVF16,PQ8x24", "is too large"),
        ("Flat; rm", "FAISS has no index 'Flat; rm'"),
        ("(" * 5_000, "FAISS has no index"),
        ("", "FAISS has no index ''"),
    ],
)
def test_a_name_that_takes_no_end_of_memory_is_refused(factory: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Wanted(factory=factory)
    assert Wanted(factory="OPQ16_64,IVF65536_HNSW32,PQ16x4fsr,Refine(SQfp16)").factory is not None


@pytest.mark.parametrize("wish", [{"memory": 0}, {"memory": float("inf")}, {"latency_ms": -1.0}])
def test_a_wish_for_nothing_is_refused(wish: dict[str, float]) -> None:
    with pytest.raises(InputError, match=rf"`{next(iter(wish)).removesuffix('_ms')}` must be a number above 0"):
        Wanted(**wish)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"memory": "1GB"}, r"`memory` must be a number above 0\. Got '1GB'\."),
        ({"latency": -1}, r"`latency` must be a number above 0\. Got -1\."),
        ({"recall": "high"}, r"`recall` must be between 0 and 1\. Got 'high'\."),
    ],
)
def test_what_no_index_can_be_is_said_before_the_store_is_opened(
    wrong: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        index(tmp_path, **wrong)


def test_vectors_to_tune_with_come_from_a_file(tmp_path: Path) -> None:
    write_store(tmp_path / "s", np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match=r"`queries` must be a path .* Got an object of type ndarray\."):
        index(tmp_path / "s", queries=np.ones((2, 4)))  # type: ignore[arg-type]
