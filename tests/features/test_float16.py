from __future__ import annotations

import numpy as np
import pytest

from fxengine.features import float16
from fxengine.features.float16 import widen


@pytest.mark.parametrize("many", [1, 1 << 20], ids=["by ONNX Runtime", "by NumPy"])
def test_every_float16_becomes_the_float32_of_the_same_value(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float16, "_MANY", many)
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 32)
    np.testing.assert_array_equal(widen(every), every.astype(np.float32))
    out = np.empty(every[:7].T.shape, np.float32)
    assert widen(every[:7].T, out) is out
    np.testing.assert_array_equal(out, every[:7].T.astype(np.float32))
    room = np.zeros((40, 9), np.float32)[:, :7]  # not in one piece
    widen(every[:40, :7], room)
    np.testing.assert_array_equal(room, every[:40, :7].astype(np.float32))


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        widen(np.zeros((1024, 512), np.float16), np.zeros((1024, 256), np.float32))


def test_float32_is_copied() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    copied = widen(vectors)
    np.testing.assert_array_equal(copied, vectors)
    assert not np.shares_memory(copied, vectors)


def test_no_row_is_no_row() -> None:
    assert widen(np.empty((0, 4), np.float16)).shape == (0, 4)
