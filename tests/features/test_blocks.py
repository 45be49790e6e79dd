from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fxengine.features import blocks, float16
from fxengine.features.blocks import as_matrix, matrix_blocks, store_blocks, told
from fxengine.features.schema import Dtype
from tests.stores import write_store


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_blocks_are_all_the_rows_asked_for(
    dtype: Dtype, often: bool, unit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_ROWS", 4)
    monkeypatch.setattr(float16, "_MANY", 1)
    x = np.random.default_rng(0).normal(size=(43, 6)).astype(dtype)
    write_store(tmp_path / "s", x[:30], dtype=dtype, failed=(5,))
    store = write_store(tmp_path / "s", x[30:], dtype=dtype, ids=[f"x{i}" for i in range(13)],
                        rows=list(range(30, 43)), part=1)  # fmt: skip
    fine = np.delete(np.arange(43), 5)
    lengths = np.linalg.norm(x.astype(np.float32), axis=1, keepdims=True) if unit else 1
    expected = x.astype(np.float32) / lengths
    for rows in (fine, fine[::-1].copy(), fine[::3], np.array([42, 7])):
        read = store_blocks(store, rows, unit=unit, often=often)
        for _ in range(2):
            np.testing.assert_allclose(as_matrix(read, len(rows), 6), expected[rows], rtol=1e-6)
        for block in read():
            block.x[:] = np.nan  # whoever reads may
        np.testing.assert_allclose(as_matrix(read, len(rows), 6), expected[rows], rtol=1e-6)


def test_a_pass_that_is_left_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_ROWS", 4)
    store = write_store(tmp_path / "s", np.ones((40, 3)))
    before = threading.active_count()
    for often in (False, True):
        read = store_blocks(store, np.arange(40), often=often)()
        assert [block.at[0] for block in islice(read, 2)] == [0, 4]
        read.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


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
