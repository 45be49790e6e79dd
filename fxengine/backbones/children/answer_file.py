"""How a program leaves its answer: whole, and on a full disk, too, in room that it took when it began.

The programs load this file by its path: it imports the standard library alone.
"""

from __future__ import annotations

import errno
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Refusals = type[Exception] | tuple[type[Exception], ...]
_ROOM = 1 << 14  # bytes; an answer is a few hundred, and a long history may take more
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def take_room(path: Path) -> None:
    """Take the room that the answer at `path` will need at least."""
    _unfinished(path).write_bytes(b" " * _ROOM)


def leave(path: Path, answer: dict[str, Any]) -> None:
    """Put the answer into its place; where the disk has no room for it, one that says so."""
    try:
        _write(path, answer)
    except OSError:
        _write(path, {"ok": False, "refused": no_room(path.parent)})
    _unfinished(path).replace(path)


def leave_answer(path: Path, do: Callable[[list[str]], dict[str, Any]], refused: Refusals) -> None:
    """Do a job and leave its answer at `path`, or what went wrong in words.

    Args:
        path: of the answer.
        do: the job; it notes what it tries in the list that it gets.
        refused: what it raises where the user asked for what cannot be.
    """
    tried = list[str]()
    take_room(path)
    try:
        answer = {"ok": True, **do(tried)}
    except refused as error:
        answer = {"ok": False, "refused": str(error)}
    except Exception as error:
        traceback.print_exc()
        # The line that names the layer, the shape or the op is often not the first one.
        answer = {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
        if is_full(error):
            answer = {"ok": False, "refused": no_room(path.parent)}
    leave(path, {**answer, "tried": tried})


def is_full(error: BaseException) -> bool:
    """Tell whether an error says that the disk is full; libraries put the system's words into their own."""
    return any(os.strerror(number) in f"{error}" for number in _FULL)


def no_room(folder: Path) -> str:
    """Return what to do where the disk of a folder is full."""
    return f"there is no room left on the disk of {folder}. Make room, and give the same command again."


def _write(path: Path, answer: dict[str, Any]) -> None:
    with _unfinished(path).open("rb+") as file:
        file.write(json.dumps(answer).encode().ljust(_ROOM))
        file.truncate()


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}")
