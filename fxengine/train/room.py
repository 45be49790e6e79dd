"""Room on the disk: taken before a long run, so that what has none is told at once."""

from __future__ import annotations

import math
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from fxengine.errors import InputError, explained, reason

_ADVICE = "Make room, or choose another `output`; the same command goes on with what was done."


def written_to(folder: Path) -> AbstractContextManager[None]:
    """Turn what fails to be written inside the block into an InputError that names the folder."""
    return explained(f"Cannot write to {folder}", _ADVICE, InputError)


def mapped(path: Path, shape: tuple[int, ...], what: str) -> np.memmap:
    """Return a new array in a file, uint8 of this shape, that the disk has room for.

    A mapped file is sparse otherwise: a disk that is full by the time it is written to ends the process by SIGBUS.

    Args:
        path: the .npy file to make; one that is there is replaced.
        shape: of the array.
        what: it holds, such as "300 pictures at 224 x 224 pixels".

    Raises:
        InputError: the disk has no room for it, or it cannot be written.
    """
    path.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    try:
        made = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        _take_room(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise InputError(
            f"{what} take {math.prod(shape):,} bytes in {path.parent}, where {free:,} are free: {reason(error)}. "
            f"{_ADVICE}"
        ) from error
    return made


def _take_room(path: Path) -> None:
    size = path.stat().st_size
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError("there is less room")
