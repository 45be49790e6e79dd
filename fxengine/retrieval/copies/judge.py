"""Which pictures of a store are compared, and what they are found to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fxengine.retrieval.copies.glance import details
from fxengine.retrieval.copies.likely import AGREE, agreement
from fxengine.retrieval.copies.look import SQUARE
from fxengine.retrieval.copies.looks import Looks
from fxengine.retrieval.copies.signature import like_pairs, signatures_of
from fxengine.retrieval.copies.verdict import compare, differences, in_question, is_same, is_same_in_large, score, shows
from fxengine.retrieval.kinds import SAME_PICTURE, SAME_SCENE, UNVERIFIED
from fxengine.retrieval.stars import Verdict

_LIKEST = 8  # of each picture and way that it is turned
_WIDE = 0.92  # share of a picture without its border: a dark edge is none
_BLOCK = 1024


@dataclass(frozen=True)
class Survey:
    """Pictures of a store at a glance.

    Attributes:
        squares: uint8 [n, SQUARE, SQUARE]; 0 where a picture was not looked at.
        share: float64 [n], what share of each is no wide border.
    """

    squares: np.ndarray
    share: np.ndarray

    def pairs(self) -> np.ndarray:
        """Return places of those that look alike whole, turned or not, whatever their vectors, int64 [m, 2]."""
        blocks = [self.squares[start : start + _BLOCK] for start in range(0, len(self.squares), _BLOCK)]
        signatures = np.concatenate([signatures_of(details(block)) for block in blocks])
        return np.concatenate([np.stack(pair, axis=1) for pair in like_pairs(signatures, _LIKEST)])

    def agreeing(self, pairs: np.ndarray) -> np.ndarray:
        """Return which pairs, int64 [m, 2], agree at a glance, or cannot be told from it: what is worth a proof."""
        blank = self.squares.max(axis=(1, 2)) == self.squares.min(axis=(1, 2))
        found: np.ndarray = (agreement(self.squares, pairs) >= AGREE) | blank[pairs].any(axis=1)
        return found


def survey(looks: Looks, n: int, rows: Sequence[int], step: Callable[[int], None]) -> Survey:
    """Glance at some pictures of a store of `n`; `step` is told how many were looked at."""
    squares, share = np.zeros((n, SQUARE, SQUARE), np.uint8), np.ones(n)
    for done, (row, glance) in enumerate(zip(rows, looks.glances(rows), strict=True)):
        step(done)
        if glance is not None:
            squares[row], inside = glance
            share[row] = inside if inside < _WIDE else 1.0
    return Survey(squares, share)


def judge_pictures(looks: Looks, kept: int, other: int) -> Verdict:
    """Return what two rows are: `other` beside `kept`, whose picture it may show."""
    a, b = looks(kept), looks(other)
    if a is None or b is None:
        return Verdict(UNVERIFIED)
    if a.plain or b.plain:
        return Verdict(UNVERIFIED, "too little detail")
    proof = compare(a, b)
    if proof is None:
        return Verdict(SAME_SCENE, "", 0.0)
    if not is_same(proof):
        return Verdict(SAME_SCENE, "", score(proof))
    if in_question(a, b, proof):
        ours, others = looks.large(kept), looks.large(other)
        if ours is None or others is None:
            return Verdict(UNVERIFIED)
        if not is_same_in_large(a, b, proof, ours, others):
            return Verdict(SAME_SCENE, "", score(proof))
    return Verdict(SAME_PICTURE, differences(a, b, proof), score(proof), shows(a, b, proof))
