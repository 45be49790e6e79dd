"""Which pictures of a store are compared, and what they are found to be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fxengine.retrieval.copies.looks import Looks
from fxengine.retrieval.copies.signature import DIM, like_pairs, signature
from fxengine.retrieval.copies.verdict import compare, differences, is_same, is_same_in_large, score
from fxengine.retrieval.kinds import SAME_PICTURE, SAME_SCENE, UNVERIFIED
from fxengine.retrieval.stars import Verdict

_AHEAD = 256  # pictures that are decoded together
_LIKEST = 8  # of each picture and way that it is turned
_WIDE = 0.92  # share of a picture without its border: a dark edge is none


def survey(looks: Looks, n: int, step: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
    """Look at the first `n` pictures of a store; `step` is told how many were looked at.

    Returns:
        Places of those that look alike whole, turned or not, whatever their vectors, int64 [m, 2]; and what share of
        each is no wide border, float64 [n].
    """
    signatures, share = np.zeros((n, DIM), np.float32), np.ones(n)
    for row in range(n):
        if row % _AHEAD == 0:
            step(row)
            looks.ready(range(row, min(n, row + _AHEAD)))
        look = looks(row)
        if look is not None and not look.plain:
            signatures[row] = signature(look.square)
            share[row] = look.inside if look.inside < _WIDE else 1.0
    return np.concatenate([np.stack(pair, axis=1) for pair in like_pairs(signatures, _LIKEST)]), share


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
    if a.drawn and b.drawn:
        ours, others = looks.large(kept), looks.large(other)
        if ours is None or others is None:
            return Verdict(UNVERIFIED)
        if not is_same_in_large(a, b, proof, ours, others):
            return Verdict(SAME_SCENE, "", score(proof))
    return Verdict(SAME_PICTURE, differences(a, b, proof), score(proof))
