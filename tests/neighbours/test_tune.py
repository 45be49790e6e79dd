from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fxengine.neighbours import faiss_build, tune
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.faiss_index import FaissIndex
from fxengine.neighbours.parameters import ladder, search_parameters


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """5,000 rows and 300 queries in 40 clouds."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 1, (40, 32))
    made = centres[rng.integers(0, 40, 5300)] + rng.normal(0, 0.7, (5300, 32))
    return made[:5000].astype(np.float16), made[5000:].astype(np.float32)


def made(factory: str, base: np.ndarray) -> FaissIndex:
    index = faiss_build.train(factory, "cosine", base)
    faiss_build.add(index, in_blocks(base), "cosine")
    return index


@pytest.mark.parametrize(
    "factory", ["IVF64,Flat", "PCA16,IVF64,PQ8x4fs,Refine(SQfp16)", "HNSW32_SQ8", "PCA16,HNSW16_SQ8,Refine(SQ8)"]
)
def test_the_least_work_that_reaches_the_target_is_found(factory: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    base, queries = data
    index = made(factory, base)
    truth = tune.find_truth(in_blocks(base), queries, "cosine")
    parameters = tune.tune(index, truth, 0.9)
    reached = tune.recall(truth, tune.ask(index, truth, parameters))
    assert reached.low >= 0.9
    name, values = ladder(index)
    assert name is not None
    at = values.index(parameters[name])
    if at:
        fewer = tune.recall(truth, tune.ask(index, truth, {**parameters, name: values[at - 1]}))
        assert fewer.low < 0.9
    assert tune.rate(index, truth, parameters) > 0
    assert tune.latency_ms(index, truth, parameters) > 0


def test_a_target_out_of_reach_gives_the_best_there_is(data: tuple[np.ndarray, np.ndarray]) -> None:
    base, queries = data
    index = made("PCA16,IVF64,PQ8x4fs", base)
    truth = tune.find_truth(in_blocks(base), queries, "cosine")
    parameters = tune.tune(index, truth, 0.999)
    best = tune.recall(truth, tune.ask(index, truth, parameters)).at_10
    everything = tune.recall(truth, tune.ask(index, truth, {"nprobe": 64})).at_10
    assert best < 0.999
    assert best >= everything - 0.05


def test_recall_counts_what_exact_search_finds() -> None:
    base = np.eye(20, dtype=np.float32) + np.arange(20)[:, None] * 0.01
    truth = tune.find_truth([base], base[:2], "cosine")
    exactly = tune.recall(truth, truth.found[:, :10])
    assert (exactly.at_1, exactly.at_10, exactly.low, exactly.high) == (1, 1, 1, 1)
    half = truth.found[:, :10].copy()
    half[:, 5:] = -1
    half[0, 0] = -1
    worse = tune.recall(truth, half)
    assert [worse.at_1, worse.at_10] == pytest.approx([0.5, 0.45])
    spread = 1.96 * np.std([0.4, 0.5], ddof=1) / 2**0.5
    assert [worse.low, worse.high] == pytest.approx([0.45 - spread, 0.45 + spread])


def test_copies_that_are_as_near_as_the_tenth_count_as_found() -> None:
    base = np.repeat(np.eye(3, dtype=np.float32), 30, axis=0)
    truth = tune.find_truth([base], base[:1], "cosine")
    others = np.arange(15, 25)[None]
    assert tune.recall(truth, others).at_10 == 1
    assert tune.recall(truth, others + 10).at_10 == 0.5


@pytest.mark.parametrize("factory", ["IVF64,SQ8", "PCA16,IVF64,PQ8x4fs,Refine(SQfp16)", "HNSW32", "PCA16,Flat"])
@pytest.mark.parametrize("kept", [0.5, 0.1])
def test_a_filter_is_applied_before_ranking(factory: str, kept: float, data: tuple[np.ndarray, np.ndarray]) -> None:
    import faiss

    base, queries = data
    index = made(factory, base)
    allowed = np.random.default_rng(0).random(5000) < kept
    selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    whole = tune.find_truth([base], queries, "cosine")
    values = {"nprobe": 32, "efSearch": 128, "k_factor": 8}
    unfiltered = tune.recall(whole, tune.ask(index, whole, values)).at_10
    parameters = search_parameters(index, values, selector, kept)
    found = index.search(whole.queries, 10, params=parameters)[1]
    assert allowed[found].all()
    truth = tune.find_truth([base[allowed]], queries, "cosine")
    numbers = np.cumsum(allowed) - 1
    assert tune.recall(truth, numbers[found]).at_10 >= unfiltered - 0.05


def test_a_search_for_the_least_value_needs_few_tries() -> None:
    asked: list[int] = []

    def low(wall: int) -> Callable[[int], float]:
        def of(value: int) -> float:
            asked.append(value)
            return 1.0 if value >= wall else value / 1000

        return of

    values = list(range(1, 60))
    for wall in range(1, 60):
        asked.clear()
        assert tune._least(values, low(wall), 0.9) == (wall, True) or wall > 5
        assert len(asked) < 20
    assert tune._least(values, lambda _: 0.5, 0.9) == (5, False)
