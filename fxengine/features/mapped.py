"""A copy of a store's vectors in the cache, for those who read them again and again: one matrix, mapped into memory.

There is one of each column of a store, of its last state; all together take a tenth of the disk at most. Files of a
store in a bucket that no library reads there lie beside them.
"""

from __future__ import annotations

import errno
import hashlib
import io
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np

from fxengine.cache import kind_folder
from fxengine.errors import StoreError
from fxengine.features.schema import FEATURE
from fxengine.files import open_regular, remove_temporaries, replacing
from fxengine.storage import is_remote
from fxengine.store_files import copy, is_there, sizes, stamps

KIND = "vectors"  # of what is in the cache
_SHARE = 10  # of the disk's bytes
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.(npy|copy)")  # as `matrix_name` and `kept_copy` give it


def store_stamp(files: Sequence[Path]) -> str:
    """Return a digest that differs as soon as a part is rewritten: it is then another file with another inode.

    Raises OSError where a bucket cannot be listed; what is wrong with a file is said by who reads it.
    """
    digest = hashlib.sha256()
    for facts in stamps(files):
        digest.update(b"gone" if facts is None else repr(facts).encode(errors="surrogateescape"))
    return digest.hexdigest()


def matrix_name(store: Path, stamp: str, column: str = FEATURE) -> str:
    """Return what the copy of a column is called: first which store's, then of which state of it."""
    return f"{_digest(store, column)}-{stamp[:32]}.npy"


def _digest(place: Path, what: str) -> str:
    """Return of what a copy is, wherever one stands: of all states of it the same."""
    whole = place if is_remote(place) else place.resolve()
    return hashlib.sha256(f"{whole} {what}".encode(errors="surrogateescape")).hexdigest()[:32]


def kept_copy(paths: Sequence[Path], sha256: str) -> Path:
    """Return a copy in the cache of a file that lies in a bucket and has this SHA-256, fetched where it is not there.

    A copy of another file of its folder with its suffix makes room for it, as other copies do.

    Args:
        paths: what it may be called there, in one folder and with one suffix.
        sha256: of its content, in hex.

    Raises:
        FileNotFoundError: it is not there, or has another content.
        OSError: it cannot be read, or the cache has no room for it.
    """
    copied = kind_folder(KIND) / f"{_digest(paths[0].parent, paths[0].suffix)}-{sha256[:32]}.copy"
    try:
        with open_regular(copied):
            os.utime(copied)  # what is used stays longest
    except FileNotFoundError:
        path = next(filter(is_there, paths), paths[0])
        _make_room(copied, sum(sizes([path])))
        with replacing(copied) as temporary:
            with temporary.open("wb") as out:
                copy(path, out)
            with temporary.open("rb") as made:
                if hashlib.file_digest(made, "sha256").hexdigest() != sha256:
                    raise FileNotFoundError(errno.ENOENT, "it holds something else", str(path)) from None
    return copied


@dataclass(frozen=True)
class Matrix:
    """A copy that is open: it can be read to the end, though it may lose its name meanwhile.

    Attributes:
        path: the .npy file.
        file: the same, open.
        values: its numbers, [n, dim], mapped, read-only.
    """

    path: Path
    file: io.BufferedReader
    values: np.memmap


def write_matrix(
    path: Path, shape: tuple[int, int], dtype: str, blocks: Iterable[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Write a matrix block by block, so that memory does not grow with it.

    Older copies make room for it: those of other states of the store, and those that were used least recently. It is
    written, not mapped, since every page of a mapping that is touched first costs more than its numbers do.

    Args:
        path: the .npy file to make, in a folder of such.
        shape: of the matrix, [n, dim].
        dtype: of its numbers.
        blocks: places int64 [k] and their rows [k, dim], in any order, all of them once.

    Raises:
        OSError: it cannot be written, or the disk has no room for it.
    """
    header = _header(shape, dtype)
    width = shape[1] * np.dtype(dtype).itemsize
    size = len(header) + shape[0] * width
    _make_room(path, size)
    with replacing(path) as temporary, temporary.open("r+b") as file:
        file.write(header)
        file.flush()
        _reserve(file, size)
        for places, rows in blocks:
            order = np.argsort(places, kind="stable")
            places, rows = places[order], rows if (np.diff(places) > 0).all() else rows[order]
            begins = np.flatnonzero(np.diff(places, prepend=-2) != 1)
            for begin, end in pairwise([*begins.tolist(), len(places)]):
                file.seek(len(header) + int(places[begin]) * width)
                file.write(np.ascontiguousarray(rows[begin:end], dtype).data.cast("B"))


def scratch(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Return a matrix to write to and to read, mapped from a file in the cache that has no name.

    Memory does not grow with what is written and `let_go`. The file is gone with the matrix, or the process.

    Raises:
        OSError: the disk has no room for it, or the cache cannot be written to.
    """
    folder, size = kind_folder(KIND), shape[0] * shape[1] * np.dtype(dtype).itemsize
    _check_disk(folder, size)
    with tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file, size)
        return np.memmap(file, dtype, "r+", 0, shape)


def open_matrix(path: Path, shape: tuple[int, int], dtype: str) -> Matrix | None:
    """Return a matrix that `write_matrix` wrote; None where there is none of this shape and type, whole."""
    header = _header(shape, dtype)
    size = len(header) + shape[0] * shape[1] * np.dtype(dtype).itemsize
    try:
        file = open_regular(path)
        if os.fstat(file.fileno()).st_size != size or file.read(len(header)) != header:
            file.close()
            return None
    except OSError:
        return None
    with suppress(OSError):
        os.utime(path)  # what is used stays longest
    return Matrix(path, file, np.memmap(file, dtype, "r", len(header), shape))


def _header(shape: tuple[int, int], dtype: str) -> bytes:
    """Return how the .npy file of such a matrix begins; what does not begin so is not ours, and never parsed."""
    header = io.BytesIO()
    facts = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


def _make_room(path: Path, size: int) -> None:
    """Remove older copies; raise OSError where the disk has no room for `size` bytes even so.

    A process that has one of them mapped keeps it until it lets go.
    """
    remove_temporaries(path.parent)
    store = path.name.partition("-")[0]
    others = []
    for other in filter(_is_copy, path.parent.iterdir()):
        with suppress(OSError):
            if other.name.partition("-")[0] == store:
                other.unlink()
            else:
                found = other.lstat()
                others.append((found.st_mtime_ns, found.st_size, other))
    taken, disk = sum(each[1] for each in others), shutil.disk_usage(path.parent)
    for _, freed, other in sorted(others):
        if taken + size <= disk.total // _SHARE and size <= disk.free:
            break
        with suppress(OSError):
            other.unlink()
            taken, disk = taken - freed, shutil.disk_usage(path.parent)
    _check_disk(path.parent, size)


def _check_disk(folder: Path, size: int) -> None:
    """Raise OSError where the disk has no room for `size` bytes."""
    free = shutil.disk_usage(folder).free
    if size > free:
        needed = f"{size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise OSError(errno.ENOSPC, needed, str(folder))


def _is_copy(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None


def _reserve(file: IO[bytes], size: int) -> None:
    """Give a file its length, its place on the disk included: a mapping would end the process where none is left."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def let_go(matrix: np.ndarray) -> None:
    """Give the pages of a mapping back: what was written to them is in its file. Does nothing to other matrices."""
    if isinstance(matrix.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        matrix.base.madvise(mmap.MADV_DONTNEED)


def read_blocks(matrix: Matrix, rows: int) -> Iterator[np.ndarray]:
    """Yield a mapped matrix at most `rows` rows at a time, [n, dim], read, not mapped: memory does not grow with it.

    The memory of a block serves again for the next.

    Raises:
        StoreError: its file is not whole any more.
    """
    values = matrix.values
    room = np.empty((rows, values.shape[1]), values.dtype)
    matrix.file.seek(values.offset)
    for start in range(0, len(values), rows):
        block = room[: len(values) - start]
        if matrix.file.readinto(block.data.cast("B")) != block.nbytes:
            raise StoreError(f"{matrix.path} is shorter than it was: delete it.")
        yield block
