"""A file on a server, read as one on a disk is: anywhere, in large blocks, which are asked for ahead of their use."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import IO

_BLOCK = 1 << 20  # bytes of a request
_KEPT = 64  # blocks of all files together
_AHEAD = 8  # blocks, where a file is read one block after the other
_AT_ONCE = 16  # requests

_kept: OrderedDict[tuple[int, int], Future[bytes]] = OrderedDict()
_lock = threading.Lock()
_numbers = count()


class Ranges(io.RawIOBase):
    """A file of which a server gives ranges; `at` may be asked by any thread.

    Attributes:
        size: bytes.
        state: what is another for every file, and for every state of one; "" where nothing tells them apart.
    """

    def __init__(self, size: int, state: str, fetch: Callable[[int, int], bytes]) -> None:
        """Begin at its start; `fetch` returns the bytes from one place to before another, and raises OSError."""
        self.size, self.state = size, state
        self._fetch, self._number, self._place = fetch, next(_numbers), 0

    def readable(self) -> bool:
        """Tell that it is."""
        return True

    def seekable(self) -> bool:
        """Tell that it is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place, and return it."""
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence])
        return self._place

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._place

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read on, and return how many bytes there were; raises OSError."""
        data = self.at(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def at(self, begin: int, length: int) -> bytes:
        """Return so many bytes from a place on, fewer at the end; raises OSError where the server does not give them.

        The blocks that follow are asked for where those before were.
        """
        end = min(begin + length, self.size)
        if begin >= end:
            return b""
        pieces = []
        for block in range(begin // _BLOCK, (end - 1) // _BLOCK + 1):
            data = self._block(block, (end - 1) // _BLOCK)
            pieces.append(data[max(0, begin - block * _BLOCK) : end - block * _BLOCK])
        return b"".join(pieces)

    def _block(self, number: int, last: int) -> bytes:
        """Return a block; `last` is the one up to which it is certain that all are wanted."""
        with _lock:
            goes_on = (self._number, number - 1) in _kept
            until = min(number + _AHEAD, -(-self.size // _BLOCK) - 1)
            wanted = self._asked(number)
            for following in range(number + 1, (until if goes_on else min(last, until)) + 1):
                self._asked(following)
            while len(_kept) > _KEPT:
                _kept.popitem(last=False)
        return wanted.result()

    def _asked(self, number: int) -> Future[bytes]:
        key = (self._number, number)
        known = _kept.get(key)
        if known is None or (known.done() and known.exception() is not None):  # who asks again tries again
            _kept[key] = _pool().submit(self._fetched, number)
        _kept.move_to_end(key)
        return _kept[key]

    def _fetched(self, number: int) -> bytes:
        begin, end = number * _BLOCK, min((number + 1) * _BLOCK, self.size)
        data = self._fetch(begin, end)
        if len(data) != end - begin:
            raise OSError(errno.EIO, "the server gave less than was asked for")
        return data


def read_at(file: IO[bytes], begin: int, length: int) -> bytes:
    """Return so many bytes of an open file from a place on, fewer at its end; any thread may ask. Raises OSError."""
    raw = ranges_of(file)
    return raw.at(begin, length) if raw is not None else os.pread(file.fileno(), length, begin)


def ranges_of(file: IO[bytes]) -> Ranges | None:
    """Return what an open file on a server is read by, None of one that lies on a disk."""
    raw = getattr(file, "raw", None)
    return raw if isinstance(raw, Ranges) else None


def size_of_file(file: IO[bytes]) -> int:
    """Return the bytes of an open file."""
    raw = ranges_of(file)
    return raw.size if raw is not None else os.fstat(file.fileno()).st_size


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AT_ONCE, "fxengine-ranges")
