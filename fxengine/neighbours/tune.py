"""How right an index is and how fast, and how little it may look at to be as right as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import faiss
import numpy as np

from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.exact import exact_search
from fxengine.neighbours.faiss_index import FaissIndex
from fxengine.neighbours.metric import findable, prepare
from fxengine.neighbours.parameters import EF_SEARCH, K_FACTOR, NPROBE, K, inner, ladder, search_parameters

_TIES = 100  # so many neighbours are known of each query, to tell copies that are as near as the last one
_LEVEL = 1e-6  # scores nearer than this are a tie
_K_FACTORS = (1, 2, 4, 8, 16)
_PLATEAU = 0.002  # recall: a quarter more visited that gains less than this will not get there
_ROUNDS = 3
_SINGLES = 100  # queries asked one at a time for the latency


@dataclass(frozen=True)
class Truth:
    """Queries with their exact neighbours.

    Attributes:
        queries: float32 [q, dim], prepared for the metric.
        found: int64 [q, many], the exact neighbours, the nearest first.
        first: bool, the same shape: as near as the nearest.
        near: bool, the same shape: as near as the K-th.
        k: 10, or less where there are fewer rows.
        group: int [q], queries that are siblings have the same number.
        may: bool [vectors], which of the index's may be found; all where None.
    """

    queries: np.ndarray
    found: np.ndarray
    first: np.ndarray
    near: np.ndarray
    k: int
    group: np.ndarray
    may: np.ndarray | None = None

    def among(self, numbers: np.ndarray, may: np.ndarray) -> Truth:
        """Return it for an index in which the rows have numbers, int64 [rows], and may be found, bool [vectors]."""
        return replace(self, found=numbers[self.found], may=may)


@dataclass(frozen=True)
class Recall:
    """Share of the exact neighbours that were found, with the 95% interval of the second.

    Attributes:
        at_1: how often the nearest was found.
        at_10: mean share of the 10 nearest that was found.
        low: of `at_10`, by the normal approximation over the groups of queries.
        high: of `at_10`.
    """

    at_1: float
    at_10: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in (self.at_1, self.at_10, self.low, self.high)):
            raise ValueError("a recall is a share, between 0 and 1")


@dataclass(frozen=True)
class Trial:
    """An index that was tried.

    Attributes:
        factory: FAISS's name of it.
        parameters: nprobe, efSearch, k_factor, as far as it has them.
        recall: against exact search, on held-out rows.
        queries_per_second: of a batch on all threads, the best of three runs.
        latency_ms: median of queries one at a time.
        megabytes: of the vectors in it.
        build_seconds: training and adding.
        rows: how many vectors it held.
    """

    factory: str
    parameters: dict[str, int]
    recall: Recall
    queries_per_second: float
    latency_ms: float
    megabytes: float
    build_seconds: float
    rows: int

    def __post_init__(self) -> None:
        spans = (self.queries_per_second, self.latency_ms, self.megabytes, self.build_seconds, self.rows)
        if not all(0 <= value < np.inf for value in spans):
            raise ValueError("a trial has a rate, a time or a size below 0")
        if not self.parameters.keys() <= {K_FACTOR, NPROBE, EF_SEARCH}:
            raise ValueError(f"no index has the parameters {', '.join(map(repr, self.parameters))[:100]}")
        Wanted(factory=self.factory)  # as far as that can be an index's name


def find_truth(
    blocks: Iterable[np.ndarray], queries: np.ndarray, metric: str, group: np.ndarray | None = None
) -> Truth:
    """Return what exact search answers over those rows that an index holds.

    Args:
        blocks: the rows, [n, dim] raw vectors at a time.
        queries: [q, dim] raw vectors.
        metric: "cosine", "ip" or "l2".
        group: int [q], which queries are siblings; none are unless given.
    """
    held = (block[findable(block, metric)] for block in blocks)
    found, scores = exact_search(held, queries, _TIES, metric)
    k = min(K, found.shape[1])
    return Truth(
        queries=prepare(queries, metric),
        found=found,
        first=scores >= scores[:, :1] - _LEVEL,
        near=scores >= scores[:, k - 1 : k] - _LEVEL,
        k=k,
        group=np.arange(len(queries)) if group is None else group,
    )


def recall(truth: Truth, found: np.ndarray) -> Recall:
    """Return how many of the exact neighbours are in `found`, int64 [q, k]."""
    hits = is_hit(truth.found, truth.near, found).sum(axis=1) / truth.k
    first = is_hit(truth.found, truth.first, found[:, :1]).any(axis=1)
    mean = float(hits.mean())
    spread = _spread(hits - mean, truth.group)
    return Recall(float(first.mean()), mean, max(0.0, mean - spread), min(1.0, mean + spread))


def _spread(residuals: np.ndarray, group: np.ndarray) -> float:
    """Return half the 95% interval of a mean over groups whose members are not independent of each other.

    By the sandwich estimator with groups / (groups - 1): of groups of one it is that of independent values.
    """
    _, number = np.unique(group, return_inverse=True)
    sums = np.bincount(number, residuals)
    n = len(sums)
    return 1.96 * float(np.sqrt((sums**2).sum() * n / (n - 1))) / len(residuals) if n > 1 else 1.0


def is_hit(truth: np.ndarray, counted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return bool [q, k]: which of the found, int64 [q, k], are neighbours that count.

    Args:
        truth: int64 [q, neighbours], the exact ones.
        counted: bool [q, neighbours], which of these count.
        found: int64 [q, k].
    """
    hits: np.ndarray = ((found[:, :, None] == truth[:, None, :]) & counted[:, None, :]).any(axis=2)
    return hits


def tune(index: FaissIndex, truth: Truth, target: float) -> dict[str, int]:
    """Return the fastest parameters whose recall@10 is surely (by its interval) at least `target`.

    Where none is, those of the highest recall come back.
    """
    name, values = ladder(index)
    if name is None:
        return {K_FACTOR: _K_FACTORS[-1]} if inner(index)[1] else {}
    best: tuple[bool, float, dict[str, int]] = (False, -1.0, {})
    for factor in _K_FACTORS if inner(index)[1] else (1,):

        def low(value: int, name: str = name, factor: int = factor) -> float:
            return recall(truth, ask(index, truth, {name: value, K_FACTOR: factor})).low

        value, reached = _least(values, low, target)
        parameters = {name: value, **({K_FACTOR: factor} if inner(index)[1] else {})}
        worth = rate(index, truth, parameters) if reached else low(value)
        if (reached, worth) > best[:2]:
            best = (reached, worth, parameters)
        elif reached:
            break  # looking at more again costs more from here on
    return best[2]


def fits(index: FaissIndex, parameters: Mapping[str, int]) -> bool:
    """Tell whether an index can be asked with these parameters: it has them, and `tune` could have found them."""
    name, values = ladder(index)
    most = {name: values[-1]} if name else {}
    if inner(index)[1]:
        most[K_FACTOR] = _K_FACTORS[-1]
    return parameters.keys() == most.keys() and all(1 <= parameters[each] <= most[each] for each in most)


def ask(index: FaissIndex, truth: Truth, parameters: Mapping[str, int]) -> np.ndarray:
    """Return what the index finds for the queries, int64 [q, k]."""
    selector, share = _selector(truth)
    return index.search(truth.queries, truth.k, params=search_parameters(index, parameters, selector, share))[1]


def _selector(truth: Truth) -> tuple[object, float]:
    """Return FAISS's selector of what may be found, None for all, and its share."""
    if truth.may is None:
        return None, 1.0
    return faiss.IDSelectorBitmap(np.packbits(truth.may, bitorder="little")), float(truth.may.mean())


def rate(index: FaissIndex, truth: Truth, parameters: Mapping[str, int]) -> float:
    """Return queries a second of one batch, the best of three runs: other programs only ever slow one down."""
    spans = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        ask(index, truth, parameters)
        spans.append(time.perf_counter() - begin)
    return len(truth.queries) / min(spans)


def latency_ms(index: FaissIndex, truth: Truth, parameters: Mapping[str, int]) -> float:
    """Return the median time of one query, in milliseconds."""
    selector, share = _selector(truth)
    set_to = search_parameters(index, parameters, selector, share)
    spans = []
    for query in truth.queries[:_SINGLES]:
        begin = time.perf_counter()
        index.search(query[None], truth.k, params=set_to)
        spans.append(time.perf_counter() - begin)
    return 1000 * float(np.median(spans))


def _least(values: list[int], low: Callable[[int], float], target: float) -> tuple[int, bool]:
    """Return the least value for which `low` reaches the target, by strides, then by halving; else the last tried."""
    at, stride, last = 0, 4, -1.0
    while True:
        now = low(values[at])
        if now >= target:
            break
        if at == len(values) - 1 or now - last < _PLATEAU * stride:
            return values[at], False
        at, last = min(at + stride, len(values) - 1), now
    below = max(-1, at - stride)
    while at - below > 1:
        middle = (at + below) // 2
        at, below = (middle, below) if low(values[middle]) >= target else (at, middle)
    return values[at], True
