from __future__ import annotations

import numpy as np
import pytest

from fxengine.tasks import blocks
from fxengine.tasks.blocks import matrix_blocks, told


def test_long_passes_say_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_ROWS", 40)
    x = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    said: list[str] = []
    quick = told(matrix_blocks(x), 100, "ridge", said.append)
    assert sum(len(block.at) for block in quick()) == 100
    assert said == []
    monkeypatch.setattr(blocks, "_SAY_EVERY", 0.0)
    slow = told(matrix_blocks(x), 100, "ridge", said.append)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([block.at for block in slow()]), np.arange(100))
    assert said[:3] == [f"ridge: {n} of 100 rows, pass 1" for n in (40, 80, 100)]
    assert said[3] == "ridge: 40 of 100 rows, pass 2"


def test_nobody_is_told_where_nobody_listens() -> None:
    plain = matrix_blocks(np.ones((2, 2), np.float32))
    assert told(plain, 2, "ridge", None) is plain
