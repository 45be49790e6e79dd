"""Which indexes are worth trying for so many vectors: the rule, so that nobody needs to know FAISS.

It follows FAISS's own guidelines (github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index) and what
docs/search.md measured on real features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fxengine.errors import InputError
from fxengine.neighbours.metric import check

FLAT_ROWS = 10_000  # up to here a plain scan takes milliseconds
_SCAN_ROWS = 50_000  # up to here a scan of shortened vectors keeps up with the others, and is built at once
_PCA_DIM = 256  # keeps the neighbours of real features; an exact look at the best candidates mends the rest
_LINKS = 32  # of a vertex of the graph; it stores twice as many, 4 bytes each


@dataclass(frozen=True)
class Wanted:
    """What is asked of an index.

    Attributes:
        metric: "cosine", "ip" (inner product) or "l2".
        layer: a further layer's name, or None for the default one.
        recall: share of the 10 exact neighbours that it must find.
        memory: most bytes that it may take, or None.
        latency_ms: longest time of one query, or None.
        factory: FAISS's name of the index, or None to choose.
    """

    metric: str = "cosine"
    layer: str | None = None
    recall: float = 0.95
    memory: int | None = None
    latency_ms: float | None = None
    factory: str | None = None

    def __post_init__(self) -> None:
        check(self.metric)
        if not 0 < self.recall < 1:
            raise InputError(f"The recall must be between 0 and 1. Got {self.recall}.")


@dataclass(frozen=True)
class Candidate:
    """An index to try.

    Attributes:
        factory: FAISS's name of it (`faiss.index_factory`).
        row_bytes: memory of a vector in it.
    """

    factory: str
    row_bytes: float


def candidates(rows: int, dim: int, metric: str, memory: int | None = None) -> list[Candidate]:
    """Return the indexes to try, the most promising first.

    Args:
        rows: vectors to index.
        dim: of a vector.
        metric: "cosine", "ip" or "l2".
        memory: most bytes that the index may take.

    Raises:
        InputError: not even the smallest index fits into the memory.
    """
    fitting = [c for c in _all(rows, dim, metric) if memory is None or c.row_bytes * rows <= memory]
    if not fitting:
        least = min(c.row_bytes for c in _all(rows, dim, metric)) * rows
        raise InputError(
            f"No index of {rows} vectors of {dim} numbers fits into {memory} bytes: the smallest takes {least:.0f}."
        )
    # Each with the most exact second look that fits; a graph and lists are different enough to try both.
    kinds: dict[str, Candidate] = {}
    for candidate in fitting:
        kinds.setdefault(candidate.factory.split(",Refine")[0], candidate)
    return list(kinds.values())[:4]


def cells(rows: int) -> int:
    """Return the lists of an inverted file: the power of two nearest to 4 * sqrt(rows)."""
    return int(2 ** round(math.log2(4 * math.sqrt(rows))))


def _all(rows: int, dim: int, metric: str) -> list[Candidate]:
    if rows <= FLAT_ROWS:
        return [Candidate("Flat", 4 * dim)]
    # FAISS's PCA centres the vectors, which changes inner products.
    reduced = dim if metric == "ip" or dim <= _PCA_DIM else _PCA_DIM
    pca = f"PCA{reduced}," if reduced < dim else ""
    lists = f"IVF{cells(rows)}"
    pairs = max(1, reduced // 2)  # fast-scan: 4 bits for every two numbers
    graph = 8 * _LINKS + 4
    scan = f"{pca}{lists},PQ{pairs}x4fs"
    links = f"{pca}HNSW{_LINKS}_SQ8"
    made = [] if rows > _SCAN_ROWS else [Candidate(f"{pca}Flat,Refine(SQfp16)", 4 * reduced + 2 * dim)]
    made += [
        Candidate(f"{links},Refine(SQfp16)", reduced + graph + 2 * dim),
        Candidate(f"{scan},Refine(SQfp16)", pairs / 2 + 8 + 2 * dim),
        Candidate(f"{links},Refine(SQ8)", reduced + graph + dim),
        Candidate(f"{scan},Refine(SQ8)", pairs / 2 + 8 + dim),
        Candidate(f"{lists},SQ8", dim + 8),
        Candidate(f"{lists},Flat", 4 * dim + 8),
        Candidate(f"{pca}{lists},SQ8", reduced + 8),
        Candidate(scan, pairs / 2 + 8),
    ]
    return [c for c in made if "PQ" not in c.factory or reduced % 2 == 0]
