"""The files of a store, be it a folder or what lies below a prefix in a bucket: the path says which.

Where both do the same thing in their own way it is done here, so that what reads and writes stores need not ask. A
bucket knows no folders, no half-written files and no second names: what is written there is whole at once or not there.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Protocol

from fxengine.files import Replacement, open_regular, read_small, remove
from fxengine.storage import Bucket, Found, is_remote, open_bucket, split

_AT_ONCE = 1 << 20  # bytes of a request: the end of a part with its footer is one


class Made(Protocol):
    """A file that is being written, and is nowhere until it is put into its place; `close` must follow in any case.

    Attributes:
        path: where to write, a file of this machine.
    """

    path: Path

    def commit(self) -> None:
        """Put it into its place; raises OSError."""

    def create(self) -> bool:
        """Put it where nothing is; return False where something was there first. Raises OSError."""

    def close(self) -> None:
        """Remove what was not put into its place."""


def names(folder: Path) -> list[str]:
    """Return the names of the files in a folder, in no order; none where there is no such folder.

    Raises:
        OSError: it cannot be listed.
    """
    if not is_remote(folder):
        try:
            return [path.name for path in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
    bucket, key = _place(folder)
    prefix = f"{key}/" if key else ""
    return [found.key.removeprefix(prefix) for found in bucket.files(key)]


def is_there(path: Path) -> bool:
    """Tell whether there is a file; raises OSError where a server does not say."""
    if not is_remote(path):
        return path.exists()
    bucket, key = _place(path)
    try:
        bucket.stat(key)
    except FileNotFoundError:
        return False
    return True


def stamp(path: Path) -> tuple[object, ...]:
    """Return what differs as soon as a file is another one; raises OSError."""
    if is_remote(path):
        bucket, key = _place(path)
        found = bucket.stat(key)
        return str(path), found.size, found.etag or found.mtime_ns
    status = path.stat()
    return str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def open_file(path: Path, *, follow: bool = False) -> BufferedReader:
    """Open a file for reading anywhere in it, one that is regular; a link only where `follow` says so.

    Of an object bytes come by ranges, all of the state in which it was opened.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is no such file, or cannot be read; later, that it was written anew meanwhile.
    """
    if not is_remote(path):
        return open_regular(path, follow=follow)
    bucket, key = _place(path)
    return BufferedReader(_Object(bucket, bucket.stat(key)), _AT_ONCE)


def size_of(opened: BinaryIO) -> int:
    """Return the bytes of a file that is open."""
    at = opened.tell()
    size = opened.seek(0, os.SEEK_END)
    opened.seek(at)
    return size


def read_short(path: Path, most: int) -> bytes:
    """Return what is in a file of at most `most` bytes, as `files.read_small` does.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is longer, no regular file, or cannot be read.
    """
    if not is_remote(path):
        return read_small(path, most)
    with open_file(path) as opened:
        if size_of(opened) > most:
            raise OSError(errno.EFBIG, f"It is longer than {most:,} bytes", str(path))
        return opened.read()


def make(target: Path) -> Made:
    """Return a file to write, to be put at `target`; raises OSError."""
    return _Upload(target) if is_remote(target) else Replacement(target)


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Yield an empty file of this machine that takes the place of `target` when the block ends well. Raises OSError."""
    with closing(make(target)) as made:
        yield made.path
        made.commit()


def delete(path: Path) -> None:
    """Remove a file; one that is not there, or on a disk cannot be removed, is no error. Raises OSError of a server."""
    if is_remote(path):
        bucket, key = _place(path)
        bucket.delete(key)
    else:
        remove(path)


def _place(path: Path) -> tuple[Bucket, str]:
    scheme, name, key = split(path)
    return open_bucket(scheme, name), key


class _Object(io.RawIOBase):
    """An object that is open."""

    def __init__(self, bucket: Bucket, found: Found) -> None:
        self._bucket, self._found, self._at = bucket, found, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._found.size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, out: memoryview, /) -> int:  # type: ignore[override]
        end = min(self._at + len(out), self._found.size)
        if end <= self._at:
            return 0
        content = self._bucket.range(self._found, self._at, end)
        out[: len(content)] = content
        self._at += len(content)
        return len(content)


class _Upload:
    """A file of this machine that becomes an object by one request.

    Attributes:
        path: where to write.
    """

    def __init__(self, target: Path) -> None:
        self._bucket, self._key = _place(target)
        self._called = str(target)
        handle, name = tempfile.mkstemp(prefix="fxengine-")
        os.close(handle)
        self.path = Path(name)
        try:
            self._found: Found | None = self._bucket.stat(self._key)
        except FileNotFoundError:
            self._found = None

    def commit(self) -> None:
        """Write it where nothing has changed since this began: of two that replace one object one fails."""
        content = self.path.read_bytes()
        if self._found is None:
            held = self._bucket.create(self._key, content)
        else:
            held = self._bucket.replace(content, self._found)
        if not held:
            raise OSError(errno.ESTALE, "Another process wrote it meanwhile", self._called)

    def create(self) -> bool:
        return self._bucket.create(self._key, self.path.read_bytes())

    def close(self) -> None:
        remove(self.path)
