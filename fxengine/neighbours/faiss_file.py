"""What a FAISS file holds, looked at before FAISS reads it.

FAISS follows what a file says: one may name another file, which is then mapped and, on adding, written to (also where
FAISS is told to skip such data, in an index that is another's quantizer), and a link of a graph or a number of a list
that is out of range ends the process when it is searched. So a file goes to FAISS only where it is, from the first
byte to the last, of kinds that serve here, and all that it says fits together. FAISS writes these kinds alike since
1.12.

The numbers of vectors are not looked at: whatever they are, they only rank.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from fxengine.facts import FactsError

_DEEPEST = 4  # indexes within each other; a PCA before a graph before a Refine are three
_CHAIN = 8  # transforms before an index
_LONGEST = 1 << 20  # numbers of a vector, as FAISS has it
_MOST = 1 << 31  # vectors: a graph numbers them in 32 bits
_VISITED = 4096  # vertices that a graph looks at where nobody says how many
_UNSAID = (1 << 64) - 1  # bytes of a vector where they are packed
_PROBAS = 1e-9  # share of the vectors from which on FAISS gives a graph a further level
# Type of a scalar quantizer -> bits of a number, and numbers that are learnt: of all together, of each, or none.
_SCALARS = {0: (8, "each"), 1: (4, "each"), 2: (8, "all"), 3: (4, "all"), 4: (16, ""), 5: (8, ""), 6: (6, "each"),
            7: (16, ""), 8: (8, "")}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """A FAISS file that is being looked at.

    Attributes:
        file: open for reading.
        size: its bytes.
        metric: FAISS's number of the metric that all of it must have.
    """

    file: BinaryIO
    size: int
    metric: int

    def number(self, kind: str) -> int | float:
        """Return the next number, of a NumPy type."""
        value: int | float = self.numbers(kind, 1)[0].item()
        return value

    def whole(self, kind: str) -> int:
        """Return the next number, of a NumPy integer type."""
        return int(self.number(kind))

    def word(self) -> str:
        """Return the next four letters, which name what follows."""
        return self.numbers("u1", 4).tobytes().decode("ascii", "replace")

    def numbers(self, kind: str, count: int) -> np.ndarray:
        """Return the next `count` numbers; those that are no integers must be finite."""
        dtype = np.dtype(f"<{kind}")
        data = self.file.read(self._within(count * dtype.itemsize))
        ensure(len(data) == count * dtype.itemsize, "it ends too early")
        values = np.frombuffer(data, dtype)
        ensure(dtype.kind != "f" or bool(np.isfinite(values).all()), "a number of it is not finite")
        return values

    def vector(self, kind: str, count: int | None = None) -> np.ndarray:
        """Return the next numbers, whose count comes before them and must be `count` if given."""
        said = self.whole("u8")
        ensure(count is None or said == count, f"it has {said} numbers where {count} must be")
        return self.numbers(kind, said)

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        self.file.seek(self._within(count), os.SEEK_CUR)

    def skip_vector(self, count: int, unit: int = 1) -> None:
        """Pass over `count` bytes, whose count in `unit` bytes comes before them."""
        said = self.whole("u8") * unit
        ensure(said == count, f"it has {said} bytes where {count} must be")
        self.skip(count)

    def _within(self, count: int) -> int:
        """Return a count of bytes that the file still has."""
        ensure(count <= self.size - self.file.tell(), "it ends too early")
        return count


@dataclass(frozen=True)
class _Place:
    """What an index in the file must be like: its dim, its vectors, and how many indexes it lies in."""

    dim: int
    total: int
    depth: int = 0

    def inner(self, dim: int | None = None) -> _Place:
        ensure(self.depth + 1 < _DEEPEST, "indexes lie too deep in each other")
        return _Place(self.dim if dim is None else dim, self.total, self.depth + 1)


def look(file: BinaryIO, dim: int, total: int, metric: int) -> None:
    """Look through a FAISS file.

    Time is that of reading a graph's links and the lists' numbers; all else is passed over.

    Args:
        file: open for reading.
        dim: that it must have.
        total: vectors that it must hold.
        metric: FAISS's number of the metric that it must have.

    Raises:
        FactsError: it is of a kind that `fxengine index` does not build, or what it says does not fit together.
    """
    seen = Look(file, file.seek(0, os.SEEK_END), metric)
    file.seek(0)
    _index(seen, _Place(dim, total), tuple(_KINDS))
    ensure(file.tell() == seen.size, "more follows at its end")


def ensure(true: bool, problem: str) -> None:
    """Raise FactsError where something is not so."""
    if not true:
        raise FactsError(f"is damaged: {problem}")


def _index(seen: Look, place: _Place, kinds: tuple[str, ...]) -> None:
    kind = seen.word()
    if kind not in kinds:
        raise FactsError(f"holds an index of the kind {kind!r}, which `fxengine index` does not build")
    dim, total = seen.whole("i4"), seen.whole("i8")
    seen.skip(16)  # nothing
    trained, metric = seen.whole("u1"), seen.whole("i4")
    ensure(0 < dim == place.dim <= _LONGEST, f"vectors of {dim} numbers where they must have {place.dim}")
    ensure(0 <= total == place.total < _MOST, f"it holds {total} vectors where there must be {place.total}")
    ensure(trained == 1, "an index of it was not trained")
    ensure(metric == seen.metric, f"its metric is {metric}, not {seen.metric}")
    _KINDS[kind](seen, place)


def _flat(seen: Look, place: _Place) -> None:
    seen.skip_vector(4 * place.total * place.dim, 4)


def _scalar(seen: Look, place: _Place) -> None:
    seen.skip_vector(place.total * _scalar_quantizer(seen, place.dim))


def _scalar_quantizer(seen: Look, dim: int) -> int:
    """Return the bytes of a vector."""
    kind = seen.whole("i4")
    ensure(kind in _SCALARS, f"there is no scalar quantizer {kind}")
    bits, learnt = _SCALARS[kind]
    size = (bits * dim + 7) // 8
    seen.numbers("i4", 1)
    seen.numbers("f4", 1)
    ensure((seen.whole("u8"), seen.whole("u8")) == (dim, size), f"a scalar quantizer of it is not of {dim} numbers")
    seen.vector("f4", {"each": 2 * dim, "all": 2}.get(learnt, 0))
    return size


def _product_quantizer(seen: Look, dim: int) -> tuple[int, int]:
    """Return the parts that a vector is cut into, and the bits of each."""
    said, parts, bits = seen.whole("u8"), seen.whole("u8"), seen.whole("u8")
    fits = said == dim and 0 < parts <= dim and dim % parts == 0 and 0 < bits <= 16
    ensure(fits, f"a product quantizer of {parts} parts of {bits} bits does not fit {dim} numbers")
    seen.vector("f4", dim << bits)
    return parts, bits


def _inverted(seen: Look, place: _Place) -> int:
    """Look at what all inverted files begin with; return the number of lists."""
    lists, visited = seen.whole("u8"), seen.whole("u8")
    ensure(0 < visited <= lists < _MOST, f"it visits {visited} of {lists} lists")
    _index(seen, _Place(place.dim, lists, place.inner().depth), _QUANTIZERS)
    ensure((seen.whole("u1"), seen.whole("u8")) == (0, 0), "it has a map of its vectors")
    return lists


def _inverted_flat(seen: Look, place: _Place) -> None:
    _lists(seen, place, _inverted(seen, place), 4 * place.dim)


def _inverted_scalar(seen: Look, place: _Place) -> None:
    lists, size = _inverted(seen, place), _scalar_quantizer(seen, place.dim)
    ensure((seen.whole("u8"), seen.whole("u1") < 2) == (size, True), f"a vector of it is not of {size} bytes")
    _lists(seen, place, lists, size)


def _inverted_product(seen: Look, place: _Place) -> None:
    lists = _inverted(seen, place)
    residual, size = seen.whole("u1"), seen.whole("u8")
    parts, bits = _product_quantizer(seen, place.dim)
    ensure(residual < 2 and size == (parts * bits + 7) // 8, f"a vector of it is not of {size} bytes")
    _lists(seen, place, lists, size)


def _inverted_fast(seen: Look, place: _Place) -> None:
    lists = _inverted(seen, place)
    residual, size, block, even = seen.whole("u1"), seen.whole("u8"), seen.whole("i4"), seen.whole("u8")
    how = seen.whole("i4"), seen.whole("u8")
    parts, bits = _product_quantizer(seen, place.dim)
    fits = residual < 2 and bits == 4 and size == (parts + 1) // 2 and even == parts + parts % 2
    ensure(fits and how == (0, 0), f"a vector of it is not of {size} bytes")
    ensure(0 < block <= 1024 and block % 32 == 0, f"its blocks are of {block} vectors")
    _blocks(seen, place, lists, even // 2, block)


def _lists(seen: Look, place: _Place, lists: int, size: int) -> None:
    """Look at inverted lists in the file itself, each with the vectors of `size` bytes before their numbers."""
    kind = seen.word()
    ensure(kind == "ilar", f"its lists are of the kind {kind!r}")
    ensure((seen.whole("u8"), seen.whole("u8")) == (lists, size), "its lists are not those of its vectors")
    counts = _counts(seen, place, lists)
    found = []
    for count in counts[counts > 0].tolist():
        seen.skip(count * size)
        found.append(seen.numbers("i8", count))
    _check_once(found, place.total)


def _counts(seen: Look, place: _Place, lists: int) -> np.ndarray:
    """Return how many vectors each list has, int64 [lists]; they are written of all, or of those with any."""
    layout = seen.word()
    ensure(layout in ("full", "sprs"), f"its lists are laid out as {layout!r}")
    said = seen.vector("u8", lists if layout == "full" else None)
    if layout == "sprs":
        ensure(len(said) % 2 == 0, "its lists are cut short")
        at, said = said[::2], said[1::2]
        ensure(bool((at[1:] > at[:-1]).all() and (at < lists).all()), "its lists are not in order")
    ensure(bool((said <= place.total).all()), "a list holds more vectors than there are")
    return said.astype(np.int64)


def _blocks(seen: Look, place: _Place, lists: int, size: int, block: int) -> None:
    """Look at inverted lists whose vectors of `size` bytes are packed, `block` of them together."""
    kind = seen.word()
    ensure(kind == "ilbl", f"its lists are of the kind {kind!r}")
    said = [seen.whole("u8") for _ in range(4)]
    ensure(said == [lists, _UNSAID, block, block * size], "its lists are not those of its vectors")
    found = []
    for _ in range(lists):
        found.append(seen.vector("i8"))
        seen.skip_vector(-(-len(found[-1]) // block) * block * size)
    _check_once(found, place.total)


def _check_once(found: list[np.ndarray], total: int) -> None:
    """Check that lists hold every number below `total` once."""
    numbers = np.concatenate([np.empty(0, np.int64), *found])
    seen = np.zeros(total, bool)
    if len(numbers) == total and bool(((numbers >= 0) & (numbers < total)).all()):
        seen[numbers] = True
    ensure(bool(seen.all()), f"its lists do not hold each of its {total} vectors once")


def _graph_flat(seen: Look, place: _Place) -> None:
    _graph(seen, place)
    _index(seen, place.inner(), ("IxF2", "IxFI"))


def _graph_scalar(seen: Look, place: _Place) -> None:
    _graph(seen, place)
    _index(seen, place.inner(), ("IxSQ",))


def _graph(seen: Look, place: _Place) -> None:
    """Look at a graph: how many links a vertex has at each level, the vertices' levels, and their links."""
    shares, starts = seen.vector("f8"), seen.vector("i4").astype(np.int64)
    ensure(len(starts) == len(shares) + 1 >= 2, "its graph has no levels")
    links = starts[1] // 2
    right = np.concatenate([[0], links * np.arange(2, len(starts) + 1)])
    ensure(bool(2 <= links <= _VISITED and (starts == right).all()), "its graph has no right number of links")
    levels = np.arange(len(shares))
    falling = links ** -levels.astype(np.float64) * (1 - 1 / links)
    ensure(bool(np.allclose(shares, falling, 1e-3, _PROBAS)), "its graph has levels that FAISS does not make")
    levels, offsets = seen.vector("i4", place.total), seen.vector("u8", place.total + 1)
    ensure(bool(((levels > 0) & (levels < len(starts))).all()), "a vertex of its graph is at no level")
    held = np.concatenate([[0], np.cumsum(starts[levels])])
    ensure(bool((offsets == held.astype(np.uint64)).all()), "the links of its graph are not where they must be")
    ends = seen.vector("i4", int(held[-1]))
    ensure(len(ends) == 0 or bool(ends.min() >= -1 and ends.max() < place.total), "a link of its graph leads nowhere")
    _check_levels(ends, levels, held, starts)
    entry, highest = seen.whole("i4"), seen.whole("i4")
    begins = (-1, -1) if place.total == 0 else (entry, levels.max() - 1)
    ensure((entry, highest) == begins and entry < place.total, "its graph begins nowhere")
    ensure(place.total == 0 or (entry >= 0 and levels[entry] == levels.max()), "its graph begins nowhere")
    visited = seen.numbers("i4", 3)[:2]  # and one that FAISS does not look at
    ensure(bool(((visited > 0) & (visited <= _VISITED)).all()), f"its graph visits {visited.max()} vertices")


def _check_levels(ends: np.ndarray, levels: np.ndarray, held: np.ndarray, starts: np.ndarray) -> None:
    """Check that links of a level above the lowest lead to vertices that are there, too."""
    for level in range(1, len(starts) - 1):
        high = np.flatnonzero(levels > level)
        if not len(high):
            return
        slots = held[high][:, None] + np.arange(starts[level], starts[level + 1])
        led = ends[slots]
        ensure(bool((levels[led[led >= 0]] > level).all()), "a link of its graph leads to another level")


def _transformed(seen: Look, place: _Place) -> None:
    dim, count = place.dim, seen.whole("i4")
    ensure(0 < count <= _CHAIN, f"{count} transforms come before it")
    for _ in range(count):
        dim = _transform(seen, dim)
    _index(seen, place.inner(dim), tuple(_KINDS))


def _transform(seen: Look, dim: int) -> int:
    """Look at a transform of vectors of `dim` numbers; return how many it leaves."""
    kind = seen.word()
    if kind not in _TRANSFORMS:
        raise FactsError(f"holds a transform of the kind {kind!r}, which `fxengine index` does not build")
    left = _TRANSFORMS[kind](seen, dim)
    said = seen.whole("i4"), seen.whole("i4"), seen.whole("u1")
    ensure(said == (dim, left, 1) and 0 < left <= _LONGEST, f"a transform of it does not fit {dim} numbers")
    return left


def _principal(seen: Look, dim: int) -> int:
    seen.numbers("f4", 2)
    ensure(seen.whole("u1") < 2, "a transform of it was not learnt")
    seen.skip(4)
    for _ in range(3):
        seen.vector("f4")
    return _linear(seen, dim)


def _linear(seen: Look, dim: int) -> int:
    biased, matrix, bias = seen.whole("u1"), len(seen.vector("f4")), len(seen.vector("f4"))
    fits = biased < 2 and matrix % dim == 0 and bias in ({matrix // dim} if biased else {0, matrix // dim})
    ensure(fits, f"a transform of it does not fit {dim} numbers")
    return matrix // dim


def _remapped(seen: Look, dim: int) -> int:
    taken = seen.vector("i4")
    ensure(bool(((taken >= -1) & (taken < dim)).all()), "a transform of it takes numbers that are not there")
    return len(taken)


def _normalised(seen: Look, dim: int) -> int:
    ensure(seen.number("f4") == 2, "a transform of it makes no unit length")
    return dim


def _refined(seen: Look, place: _Place) -> None:
    _index(seen, place.inner(), tuple(_KINDS))
    _index(seen, place.inner(), ("IxF2", "IxFI", "IxSQ"))
    ensure(1 <= seen.number("f4") <= 1000, "it looks again at more than there can be")


_TRANSFORMS: dict[str, Callable[[Look, int], int]] = {
    "Pcam": _principal,
    "LTra": _linear,
    "rrot": _linear,
    "RmDT": _remapped,
    "VNrm": _normalised,
}
_QUANTIZERS = ("IxF2", "IxFI", "IHNf")
_KINDS: dict[str, Callable[[Look, _Place], None]] = {
    "IxF2": _flat,
    "IxFI": _flat,
    "IxSQ": _scalar,
    "IwFl": _inverted_flat,
    "IwSq": _inverted_scalar,
    "IwPQ": _inverted_product,
    "IwPf": _inverted_fast,
    "IHNf": _graph_flat,
    "IHNs": _graph_scalar,
    "IxPT": _transformed,
    "IxRF": _refined,
}
