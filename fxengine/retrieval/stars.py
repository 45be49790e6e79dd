"""Groups without chains: every row beside one that is kept, with which it was compared itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fxengine.retrieval.kinds import IDENTICAL, NEAR_THE_SAME, REDUNDANT

_TRIED = 16  # kept rows that a row is compared with, the most alike first


class Verdict(NamedTuple):
    """What two rows are to each other: one of `kinds`, how the second differs, and how much they agree, 0 to 1.

    `shows` is "more" where the second is to be kept although it came later, as the first is a part of it, and "less"
    where it is a part of the first.
    """

    kind: str
    transform: str = ""
    score: float = float("nan")
    shows: str = ""


Judge = Callable[[int, int], Verdict]


@dataclass(frozen=True)
class Stars:
    """Rows and what they were found to be.

    Attributes:
        order: int64 [n], places of the rows, the one to keep first: as it was given, but for what shows more.
        head: int64 [n], the row that begins a row's group; its own place where it is alone or begins one.
        of: int64 [n], the row that is kept and that a row was compared with; its own place where it begins a group.
        verdicts: n of what the row is to this one; None where that is the row itself.
    """

    order: np.ndarray
    head: np.ndarray
    of: np.ndarray
    verdicts: list[Verdict | None]


def make_stars(
    order: np.ndarray,
    hashes: Sequence[str | None],
    pairs: np.ndarray,
    likeness: Callable[[int, np.ndarray], np.ndarray],
    threshold: float,
    judge: Judge,
    told: Callable[[int], Callable[[int], None]] = lambda _: lambda _: None,
    threads: int = 1,
) -> Stars:
    """Return the groups of rows: what is the same as a kept row stands beside it, and so does what is like a head.

    Rows are taken in the order in which they are to be kept. One that is found to be the same as a kept row is its
    copy; any other is kept, too, and is in the group of the head that it is most like, or heads one itself. A copy that
    shows more than the kept one takes its place.

    Args:
        order: int64 [n], places, the one to keep first.
        hashes: n content hashes; equal ones are identical without being judged. None equals nothing.
        pairs: int64 [m, 2], places of rows to compare.
        likeness: (a, others) -> float32 [len(others)], cosines.
        threshold: likeness from which rows that are not the same are in one group.
        judge: (kept, other) -> what they are.
        told: takes how many rows are compared with others, and returns what is told how many were.
        threads: how many call `judge` at a time; what comes out is the same.
    """
    n = len(order)
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    first = _first_of_each(order, hashes)
    made = _Making(rank, np.arange(n), np.arange(n), [None] * n, likeness, threshold, judge)
    together = _earlier(first[pairs], rank)
    step, done = told(sum(map(len, together))), count()

    def place(compared: list[tuple[int, np.ndarray]]) -> None:
        for row, near in compared:
            step(next(done))
            made.place(row, near)

    with ThreadPoolExecutor(threads) as pool:  # what is paired with nothing of another list changes nothing of it
        list(pool.map(place, together))
    for row in np.flatnonzero(first != np.arange(n)).tolist():
        same = int(first[row])
        copied = made.of[same] if made.is_copy(same) else same
        made.head[row], made.of[row] = made.head[same], copied
        made.verdicts[row] = made.verdicts[same] if made.is_copy(same) else Verdict(IDENTICAL, "", 1.0)
    return Stars(np.argsort(rank), made.head, made.of, made.verdicts)


@dataclass(frozen=True)
class _Making:
    rank: np.ndarray
    head: np.ndarray
    of: np.ndarray
    verdicts: list[Verdict | None]
    likeness: Callable[[int, np.ndarray], np.ndarray]
    threshold: float
    judge: Judge

    def is_copy(self, row: int) -> bool:
        verdict = self.verdicts[row]
        return verdict is not None and verdict.kind in REDUNDANT

    def place(self, row: int, near: np.ndarray) -> None:
        """Find what a row is; `near` are the rows before it that may be the same or alike."""
        kept = [int(self.of[other]) if self.is_copy(other) else other for other in near.tolist()]
        others = np.unique(np.concatenate([np.array(kept, np.int64), self.head[near]]))
        alike = self.likeness(row, others)
        tried = np.argsort(-alike, kind="stable")[:_TRIED]
        best: tuple[float, int, Verdict] | None = None
        for at in tried[np.argsort(self.rank[others[tried]])].tolist():  # the first to be kept has its copies together
            other, score = int(others[at]), float(alike[at])
            verdict = self.judge(other, row)
            if verdict.kind in REDUNDANT:
                self.head[row], self.of[row], self.verdicts[row] = self.head[other], other, verdict
                if verdict.shows == "more":
                    self.put_first(row, other)
                return
            linked = score >= self.threshold or verdict.kind == NEAR_THE_SAME
            if linked and self.head[other] == other and (best is None or score > best[0]):
                best = score, other, verdict
        if best is not None:
            self.head[row], self.of[row], self.verdicts[row] = best[1], best[1], best[2]

    def put_first(self, row: int, kept: int) -> None:
        """Let a copy take the place of the kept row, where the copies of that one are copies of it, too."""
        beside = [other for other in np.flatnonzero(self.of == kept).tolist() if other not in (row, kept)]
        found = {other: self.judge(row, other) for other in (kept, *beside)}
        if any(found[other].kind not in REDUNDANT for other in (kept, *beside) if other == kept or self.is_copy(other)):
            return
        heads = self.head[kept] == kept
        above = (row, row, None) if heads else (self.head[kept], self.of[kept], self.verdicts[kept])
        self.head[row], self.of[row], self.verdicts[row] = above
        for other, verdict in found.items():
            self.head[other], self.of[other], self.verdicts[other] = self.head[row], row, verdict
        self.rank[[row, kept]] = self.rank[[kept, row]]


def _first_of_each(order: np.ndarray, hashes: Sequence[str | None]) -> np.ndarray:
    """Return for every row the first in the order with its content hash, int64 [n]."""
    first = np.arange(len(order))
    of_hash: dict[str, int] = {}
    for row in order.tolist():
        key = hashes[row]
        if key is not None:
            first[row] = of_hash.setdefault(key, row)
    return first


def _earlier(pairs: np.ndarray, rank: np.ndarray) -> list[list[tuple[int, np.ndarray]]]:
    """Return every row that is paired with earlier ones, and these: a list of what hangs together, be it by others."""
    pairs = np.where((rank[pairs[:, 0]] < rank[pairs[:, 1]])[:, None], pairs, pairs[:, ::-1])
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    if not len(pairs):
        return []
    n = len(rank)
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    together = connected_components(links, directed=False)[1]
    pairs = pairs[np.lexsort((rank[pairs[:, 1]], together[pairs[:, 1]]))]
    starts = np.flatnonzero(np.r_[True, np.diff(pairs[:, 1]) != 0])
    rows = pairs[starts, 1]
    near = np.split(pairs[:, 0], starts[1:])
    ends = [*(np.flatnonzero(np.diff(together[rows])) + 1).tolist(), len(rows)]
    return [
        list(zip(rows[start:end].tolist(), near[start:end], strict=True))
        for start, end in zip([0, *ends], ends, strict=False)
    ]
