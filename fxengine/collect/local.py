"""Reads one input's bytes without ever blocking on what is no regular file."""

from __future__ import annotations

import os
import stat

from fxengine.collect.item import Item, stamp
from fxengine.collect.memory import require
from fxengine.errors import DecodeError

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read_input(item: Item, max_bytes: int) -> tuple[bytes, Item]:
    """Return the file's bytes, and the item with the size and time that the file had when it was read.

    Raises:
        DecodeError: as `read_file` does.
    """
    data, (size, mtime_ns) = read_file(item.source, max_bytes)
    return data, item._replace(size=size, mtime_ns=mtime_ns)


def read_file(path: str | os.PathLike[str], max_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """Return a file's bytes, and the (size, mtime_ns) that it had when it was read, as `stamp` gives them.

    Raises:
        DecodeError: it is gone, may not be read, is too large, is no regular file, or the disk failed.
    """
    try:
        handle = os.open(path, _FLAGS)
    except ValueError as error:
        raise DecodeError("vanished", "The path holds a NUL byte: there can be no such file.") from error
    except OSError as error:
        raise _reason(error) from error
    try:
        for _ in range(2):
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise DecodeError("not_a_file", "It is a folder, a pipe or a device, not a file.")
            if before.st_size > max_bytes:
                raise DecodeError("too_large", f"{before.st_size} bytes; `max_bytes` allows {max_bytes}.")
            require(before.st_size, "Reading it")
            data = _read_all(handle, before.st_size)
            after = os.fstat(handle)
            if (before.st_size, before.st_mtime_ns, len(data)) == (after.st_size, after.st_mtime_ns, after.st_size):
                return data, stamp(after)
            os.lseek(handle, 0, os.SEEK_SET)
        raise DecodeError("io", "It changed while it was being read, twice.")
    except OSError as error:
        raise _reason(error) from error
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to read it.") from error
    finally:
        os.close(handle)


def stat_item(key: str, path: str | os.PathLike[str]) -> Item:
    """Return the item of a file as it is now, one that cannot be asked for with size -1, and neither label nor split.

    Args:
        key: the row's id.
        path: the file.
    """
    try:
        size, mtime_ns = stamp(os.stat(path))
    except (OSError, ValueError):  # ValueError: a NUL byte in the path
        size, mtime_ns = -1, 0
    return Item(key, os.fspath(path), size, mtime_ns)


def _read_all(handle: int, size: int) -> bytes:
    first = os.read(handle, size + 1)
    if len(first) == size:
        return first
    chunks = [first]
    while chunks[-1] and sum(map(len, chunks)) <= size:
        chunks.append(os.read(handle, size + 1))
    return b"".join(chunks)


def _reason(error: OSError) -> DecodeError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DecodeError("vanished", "The file is not there (any more).")
    if isinstance(error, PermissionError):
        return DecodeError("permission", "This user may not read the file.")
    if isinstance(error, IsADirectoryError):
        return DecodeError("not_a_file", "It is a folder, a pipe or a device, not a file.")
    return DecodeError("io", f"Reading failed: {error.strerror or error}.")
