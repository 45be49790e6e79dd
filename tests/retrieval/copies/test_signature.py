from __future__ import annotations

import numpy as np
import pytest

from fxengine.retrieval.copies.fit import WAYS, turned
from fxengine.retrieval.copies.look import SQUARE
from fxengine.retrieval.copies.signature import like_pairs, signatures_of


@pytest.mark.parametrize("way", range(WAYS))
def test_a_turned_picture_is_paired_with_the_one_it_is(way: int) -> None:
    rng = np.random.default_rng(way)
    squares = list(rng.normal(size=(30, SQUARE, SQUARE)).astype(np.float32))
    squares.append(np.ascontiguousarray(turned(squares[7], way)))
    signatures = signatures_of(np.stack(squares))
    np.testing.assert_allclose(np.linalg.norm(signatures, axis=1), 1, atol=1e-5)
    pairs = np.concatenate([np.stack(pair, axis=1) for pair in like_pairs(signatures, 8)])
    assert {tuple(sorted(pair)) for pair in pairs.tolist() if pair[0] != pair[1]} == {(7, 30)}


def test_what_has_no_detail_is_like_nothing() -> None:
    nothing = signatures_of(np.zeros((3, SQUARE, SQUARE), np.float32))
    assert not nothing.any()
    assert all(not len(a) for a, _ in like_pairs(nothing, 8))
