"""Which indexes are worth trying for so many vectors: the rule, so that nobody needs to know FAISS.

It follows FAISS's own guidelines (github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index) and what
docs/search.md measured on real features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

from fxengine.errors import InputError, above_zero, given
from fxengine.neighbours.metric import check

FLAT_ROWS = 10_000  # up to here a plain scan takes milliseconds
_SCAN_ROWS = 50_000  # up to here a scan of shortened vectors keeps up with the others, and is built at once
_PCA_DIM = 256  # keeps the neighbours of real features; an exact look at the best candidates mends the rest
_GRAPH = 8 * 32 + 4  # bytes of a vertex: its links, 4 bytes each, of which the lowest level has twice 32

# Of FAISS's name of an index. What is beyond takes the machine's memory before FAISS says that it cannot be.
_LONGEST, _MOST, _LINKS, _BITS = 200, 1 << 20, 512, 16

_SCAN = "{pca}Flat,Refine(SQfp16)"
# Index, the most promising first -> bytes of a vector in it, by its numbers and by those that the PCA leaves. To add
# one: name it here as FAISS does, with {pca} and {lists} where it has them. PQ{pairs}x4fs takes 4 bits for two numbers.
KINDS: dict[str, Callable[[int, int], float]] = {
    _SCAN: lambda dim, short: 4 * short + 2 * dim,
    "{pca}HNSW32_SQ8,Refine(SQfp16)": lambda dim, short: short + _GRAPH + 2 * dim,
    "{pca}{lists},PQ{pairs}x4fs,Refine(SQfp16)": lambda dim, short: short / 4 + 8 + 2 * dim,
    "{pca}HNSW32_SQ8,Refine(SQ8)": lambda dim, short: short + _GRAPH + dim,
    "{pca}{lists},PQ{pairs}x4fs,Refine(SQ8)": lambda dim, short: short / 4 + 8 + dim,
    "{lists},SQ8": lambda dim, _: dim + 8,
    "{lists},Flat": lambda dim, _: 4 * dim + 8,
    "{pca}{lists},SQ8": lambda _, short: short + 8,
    "{pca}{lists},PQ{pairs}x4fs": lambda _, short: short / 4 + 8,
}


@dataclass(frozen=True)
class Wanted:
    """What is asked of an index.

    Attributes:
        metric: "cosine", "ip" (inner product) or "l2".
        layer: a further layer's name, or None for the default one.
        recall: share of the 10 exact neighbours that it must find.
        memory: most bytes that it may take (2e9 is a float), or None.
        latency_ms: longest time of one query, or None.
        factory: FAISS's name of the index, or None to choose.
    """

    metric: str = "cosine"
    layer: str | None = None
    recall: float = 0.95
    memory: float | None = None
    latency_ms: float | None = None
    factory: str | None = None

    def __post_init__(self) -> None:
        check(self.metric)
        if not isinstance(self.recall, Real) or not 0 < self.recall < 1:
            raise InputError(f"`recall` must be between 0 and 1. Got {given(self.recall)}.")
        for name, most in (("memory", self.memory), ("latency", self.latency_ms)):
            if most is not None:
                above_zero(name, most)
        if self.factory is not None:
            _check_factory(self.factory)


def _check_factory(factory: str) -> None:
    """Raise InputError where no index is called so, or one that FAISS takes no end of memory for."""
    numbers = [int(number) for number in re.findall(r"\d+", factory[:_LONGEST])]
    if not re.fullmatch(rf"[A-Za-z0-9_,.()\[\]]{{1,{_LONGEST}}}", factory):
        raise InputError(f"FAISS has no index {factory[:_LONGEST]!r}; `IVF1024,SQ8` is one.")
    links = [int(number) for number in re.findall(r"(?:HNSW|NSG)(\d+)", factory)]
    bits = [int(number) for number in re.findall(r"x(\d+)", factory)]
    if max(numbers, default=0) > _MOST or max(links, default=0) > _LINKS or max(bits, default=0) > _BITS:
        raise InputError(
            f"The index {factory!r} is too large: at most {_MOST} lists or numbers, {_LINKS} links a vector and "
            f"{_BITS} bits."
        )


@dataclass(frozen=True)
class Candidate:
    """An index to try.

    Attributes:
        factory: FAISS's name of it (`faiss.index_factory`).
        row_bytes: memory of a vector in it.
    """

    factory: str
    row_bytes: float


def candidates(rows: int, dim: int, metric: str, memory: float | None = None) -> list[Candidate]:
    """Return the indexes to try, the most promising first.

    Args:
        rows: vectors to index.
        dim: of a vector.
        metric: "cosine", "ip" or "l2".
        memory: most bytes that the index may take.

    Raises:
        InputError: not even the smallest index fits into the memory.
    """
    fitting = [c for c in known_indexes(rows, dim, metric) if memory is None or c.row_bytes * rows <= memory]
    if not fitting:
        least = min(c.row_bytes for c in known_indexes(rows, dim, metric)) * rows
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


def known_indexes(rows: int, dim: int, metric: str) -> list[Candidate]:
    """Return every index that is worth a trial for so many vectors, whatever memory it takes, as in `candidates`."""
    if rows <= FLAT_ROWS:
        return [Candidate("Flat", 4 * dim)]
    # FAISS's PCA centres the vectors, which changes inner products.
    short = dim if metric == "ip" or dim <= _PCA_DIM else _PCA_DIM
    words = {"pca": f"PCA{short}," if short < dim else "", "lists": f"IVF{cells(rows)}", "pairs": short // 2}
    kinds = [kind for kind in KINDS if (rows <= _SCAN_ROWS or kind != _SCAN) and ("PQ" not in kind or short % 2 == 0)]
    return [Candidate(kind.format(**words), KINDS[kind](dim, short)) for kind in kinds]
