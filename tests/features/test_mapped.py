from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fxengine.errors import StoreError
from fxengine.features.mapped import let_go, map_matrix, read_blocks, store_stamp, write_matrix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "a.npy"


def numbers(rows: int) -> np.ndarray:
    return np.arange(rows * 3, dtype=np.float16).reshape(rows, 3)


def write(path: Path, rows: int) -> None:
    def fill(out: np.ndarray) -> None:
        for start in range(0, rows, 4):
            out[start : start + 4] = numbers(rows)[start : start + 4]
            let_go(out)  # what is in the file stays

    write_matrix(path, (rows, 3), "float16", fill)


@pytest.mark.parametrize("rows", [0, 1, 4, 11])
def test_a_matrix_is_mapped_and_read_as_it_was_written(path: Path, rows: int) -> None:
    write(path, rows)
    matrix = map_matrix(path)
    assert matrix.dtype == np.float16
    assert not matrix.flags.writeable
    np.testing.assert_array_equal(matrix, numbers(rows))
    blocks = [block.copy() for block in read_blocks(matrix, 4)]
    assert [len(block) for block in blocks] == [min(4, rows - start) for start in range(0, rows, 4)]
    np.testing.assert_array_equal(np.concatenate([*blocks, numbers(0)]), numbers(rows))
    assert list(path.parent.iterdir()) == [path]


def test_a_copy_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(out: np.ndarray) -> None:
        raise StoreError("damaged")

    with pytest.raises(StoreError, match="damaged"):
        write_matrix(path, (5, 3), "float16", fail)
    free = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=29))
    with pytest.raises(OSError, match="0 MB are needed"):
        write(path, 5)
    assert list(path.parent.iterdir()) == []


def test_a_copy_that_was_cut_short_is_named(path: Path) -> None:
    write(path, 11)
    matrix = map_matrix(path)
    data = path.read_bytes()
    path.unlink()  # the mapping keeps its own
    path.write_bytes(data[:-3])
    blocks = read_blocks(matrix, 4)
    assert [len(next(blocks)), len(next(blocks))] == [4, 4]
    with pytest.raises(StoreError, match=r"a\.npy is shorter than it was: delete it"):
        next(blocks)


def test_a_file_that_is_replaced_has_another_stamp(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(b"same")
    before = store_stamp(files)
    assert store_stamp(files) == before
    assert store_stamp(files[::-1]) != before
    (tmp_path / "c").write_bytes(b"same")
    (tmp_path / "c").replace(files[0])
    assert store_stamp(files) != before
    files[1].unlink()
    assert store_stamp(files) != before
