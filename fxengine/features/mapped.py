"""A copy of a store's vectors in the cache, for those who read them again and again: one matrix, mapped into memory."""

from __future__ import annotations

import errno
import hashlib
import mmap
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fxengine.cache import cache_folder
from fxengine.errors import StoreError
from fxengine.features.schema import FEATURE
from fxengine.files import replacing


def store_stamp(files: Sequence[Path]) -> str:
    """Return a digest that differs as soon as a part is rewritten: it is then another file with another inode."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = file.stat()
        except FileNotFoundError:
            digest.update(b"gone")
            continue
        facts = (str(file.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def matrix_cache(files: Sequence[Path], column: str = FEATURE) -> Path:
    """Return where the cache keeps the vectors of these very parts."""
    digest = hashlib.sha256(f"{store_stamp(files)} {column}".encode())
    return cache_folder() / "vectors" / f"{digest.hexdigest()}.npy"


def write_matrix(path: Path, shape: tuple[int, int], dtype: str, fill: Callable[[np.ndarray], object]) -> None:
    """Write a matrix through a mapping, so that memory does not grow with it.

    Args:
        path: the .npy file to make.
        shape: of the matrix, [n, dim].
        dtype: of its numbers.
        fill: puts them into the matrix that it is given; may `let_go` of what it has put.

    Raises:
        OSError: it cannot be written, or the disk has no room for it.
    """
    path.parent.mkdir(exist_ok=True)
    _check_room(path, shape[0] * shape[1] * np.dtype(dtype).itemsize)
    with replacing(path) as temporary:
        out = np.lib.format.open_memmap(temporary, "w+", dtype, shape)
        fill(out)
        out.flush()


def _check_room(path: Path, size: int) -> None:
    """Raise OSError where the disk has no room for `size` bytes: a mapping would crash on them."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free", str(path.parent))


def let_go(matrix: np.ndarray) -> None:
    """Give the pages of a mapping back: what was written to them is in its file. Does nothing to other matrices."""
    if isinstance(matrix.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        matrix.base.madvise(mmap.MADV_DONTNEED)


def map_matrix(path: Path) -> np.memmap:
    """Return a matrix that `write_matrix` wrote, [n, dim], read-only."""
    return np.lib.format.open_memmap(path, mode="r")


def read_blocks(matrix: np.memmap, rows: int) -> Iterator[np.ndarray]:
    """Yield a mapped matrix at most `rows` rows at a time, [n, dim], read, not mapped: memory does not grow with it.

    The memory of a block serves again for the next.

    Raises:
        StoreError: its file is not whole any more.
    """
    path = Path(str(matrix.filename))
    room = np.empty((rows, matrix.shape[1]), matrix.dtype)
    with path.open("rb") as file:
        file.seek(matrix.offset)
        for start in range(0, len(matrix), rows):
            block = room[: len(matrix) - start]
            if file.readinto(block.data.cast("B")) != block.nbytes:
                raise StoreError(f"{path} is shorter than it was: delete it.")
            yield block
