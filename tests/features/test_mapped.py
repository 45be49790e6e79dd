from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.errors import StoreError
from fxengine.features.mapped import (
    Matrix,
    let_go,
    matrix_name,
    open_matrix,
    read_blocks,
    scratch,
    store_stamp,
    write_matrix,
)
from tests.conftest import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / copy("a")


def copy(sign: str) -> str:
    """Return a name as `matrix_name` gives it, of a store of its own."""
    return f"{sign * 32}-{'1' * 32}.npy"


def numbers(rows: int) -> np.ndarray:
    return np.arange(rows * 3, dtype=np.float16).reshape(rows, 3)


def write(path: Path, rows: int) -> None:
    places = np.arange(rows)
    write_matrix(path, (rows, 3), "float16", ((places[i : i + 4], numbers(rows)[i : i + 4]) for i in range(0, rows, 4)))


def opened(path: Path, rows: int) -> Matrix:
    found = open_matrix(path, (rows, 3), "float16")
    assert found is not None
    return found


@pytest.mark.parametrize("rows", [0, 1, 4, 11])
def test_a_matrix_is_mapped_and_read_as_it_was_written(path: Path, rows: int) -> None:
    write(path, rows)
    matrix = opened(path, rows)
    assert matrix.values.dtype == np.float16
    assert not matrix.values.flags.writeable
    np.testing.assert_array_equal(matrix.values, numbers(rows))
    np.testing.assert_array_equal(np.load(path), numbers(rows))
    blocks = [block.copy() for block in read_blocks(matrix, 4)]
    assert [len(block) for block in blocks] == [min(4, rows - start) for start in range(0, rows, 4)]
    np.testing.assert_array_equal(np.concatenate([*blocks, numbers(0)]), numbers(rows))
    assert list(path.parent.iterdir()) == [path]


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(11)), st.integers(1, 11))
def test_rows_come_in_any_order(order: list[int], size: int) -> None:
    with TemporaryDirectory() as folder:
        path, places = Path(folder, copy("a")), np.array(order)
        blocks = (places[i : i + size] for i in range(0, 11, size))
        write_matrix(path, (11, 3), "float16", ((some, numbers(11)[some]) for some in blocks))
        np.testing.assert_array_equal(np.load(path), numbers(11))


def test_a_matrix_without_a_name_keeps_what_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "c"))
    matrix = scratch((11, 3), "float16")
    matrix[:] = numbers(11)
    let_go(matrix)
    np.testing.assert_array_equal(matrix, numbers(11))
    assert list((tmp_path / "c" / "vectors").iterdir()) == []
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=65))
    with pytest.raises(OSError, match="0 MB are needed"):
        scratch((11, 3), "float16")


def test_a_copy_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield np.arange(2), numbers(2)
        raise StoreError("damaged")

    with pytest.raises(StoreError, match="damaged"):
        write_matrix(path, (5, 3), "float16", fail())
    free = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=29))
    with pytest.raises(OSError, match="0 MB are needed"):
        write(path, 5)
    assert list(path.parent.iterdir()) == []


def test_a_copy_that_was_cut_short_is_named(path: Path) -> None:
    write(path, 11)
    matrix = opened(path, 11)
    os.truncate(path, path.stat().st_size - 3)
    blocks = read_blocks(matrix, 4)
    assert [len(next(blocks)), len(next(blocks))] == [4, 4]
    with pytest.raises(StoreError, match=r"1\.npy is shorter than it was: delete it"):
        next(blocks)


def test_a_copy_that_another_process_removes_is_read_to_its_end(path: Path) -> None:
    write(path, 11)
    matrix = opened(path, 11)
    path.unlink()
    np.testing.assert_array_equal(np.concatenate([block.copy() for block in read_blocks(matrix, 4)]), numbers(11))
    np.testing.assert_array_equal(matrix.values, numbers(11))


def shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 2)


def longer(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 2)


def of_objects(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"<f2", b"|O8"))


def nested(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10].ljust(9_000, b"(") + b"(" * 500)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [shorter, longer, of_objects, nested, linked, pipe])
def test_what_is_not_the_copy_that_is_asked_for_is_made_anew(path: Path, change: Callable[[Path], None]) -> None:
    write(path, 11)
    assert open_matrix(path, (11, 3), "float32") is None
    assert open_matrix(path, (10, 3), "float16") is None
    change(path)
    assert open_matrix(path, (11, 3), "float16") is None
    write(path, 11)
    np.testing.assert_array_equal(opened(path, 11).values, numbers(11))


def test_a_change_of_a_store_leaves_one_copy_of_each_column(tmp_path: Path, path: Path) -> None:
    folder = path.parent
    for store, stamp, column in [("s", "1", "a"), ("s", "1", "b"), ("t", "1", "a"), ("s", "2", "a"), ("s", "3", "a")]:
        write(folder / matrix_name(tmp_path / store, stamp * 64, column), 4)
    kept = [("s", "3", "a"), ("s", "1", "b"), ("t", "1", "a")]
    names = {matrix_name(tmp_path / store, stamp * 64, column) for store, stamp, column in kept}
    assert {each.name for each in folder.iterdir()} == names
    assert matrix_name(Path("x", "..", "s"), "1", "a") == matrix_name(Path("s").resolve(), "1", "a")


def test_all_copies_take_a_tenth_of_the_disk_the_last_used_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 128 + 4 * 3 * 2
    disk = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(total=30 * size))
    for number, sign in enumerate("abc"):
        write(path.with_name(copy(sign)), 4)
        os.utime(path.with_name(copy(sign)), (number, number))
    opened(path.with_name(copy("a")), 4)  # used again
    write(path.with_name(copy("d")), 4)
    assert {each.name for each in path.parent.iterdir()} == {copy("a"), copy("c"), copy("d")}
    write(path.with_name(copy("e")), 400)  # larger than all may be: it is alone
    assert {each.name for each in path.parent.iterdir()} == {copy("e")}


def test_room_is_made_of_copies_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ["mine.npy", f"{'a' * 32}-mine.npy", "vectors.tar"]
    for name in theirs:
        path.with_name(name).write_bytes(b"a project's own")
    disk = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(total=10))
    write(path, 4)
    assert sorted(each.name for each in path.parent.iterdir()) == sorted([*theirs, path.name])


def test_a_full_disk_is_told_before_a_mapping_would_end_the_process(path: Path) -> None:
    child = (
        "import resource, signal, sys; from pathlib import Path\n"
        "import numpy as np; from fxengine.features.mapped import write_matrix\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_matrix(Path(sys.argv[1]), (4096, 64), 'float16', [(np.arange(4096), np.ones((4096, 64)))])\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", child, str(path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("File too large\n", "")
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_process_left_of_any_copy_is_removed_by_the_next(path: Path) -> None:
    child = (
        "import os, signal, sys; from pathlib import Path\n"
        "from fxengine.features.mapped import write_matrix\n"
        "write_matrix(Path(sys.argv[1]), (9, 3), 'float16', (os.kill(os.getpid(), signal.SIGKILL) for _ in 'a'))"
    )
    other = path.with_name("other-1.npy")
    subprocess.run([sys.executable, "-c", child, str(other)], check=False, cwd=ROOT)
    assert [each.name.startswith(".other-1.npy.tmp-") for each in path.parent.iterdir()] == [True]
    write(path, 4)
    assert list(path.parent.iterdir()) == [path]


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
