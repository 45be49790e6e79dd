"""Keeps what was found in containers on servers in a file without a name: a run lists more than once, and to find the
members of a tar all of it is gone through. The file vanishes with the process, however that ends.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import IO

from fxengine.collect.members import Member

_lock = threading.Lock()
_places = dict[str, tuple[int, int]]()  # state of a container -> where its members begin in the file, and their bytes


def kept_members(state: str) -> list[Member] | None:
    """Return the members of a container in that state, None where they are not kept."""
    if state not in _places:
        return None
    begin, length = _places[state]
    members: list[Member] = pickle.loads(os.pread(_file().fileno(), length, begin))
    return members


def keep_members(state: str, members: Sequence[Member]) -> None:
    """Keep the members of a container in that state; where there is no room, they are found again."""
    data = pickle.dumps([*members], pickle.HIGHEST_PROTOCOL)
    with _lock, suppress(OSError):
        begin = _file().seek(0, os.SEEK_END)
        _file().write(data)
        _places[state] = begin, len(data)


@cache
def _file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="fxengine-", buffering=0)
