"""The files of a store, be it a folder or what lies below a prefix in a bucket: the path says which.

Where both do the same thing in their own way it is done here, so that what reads and writes stores need not ask. A
bucket knows no folders, no half-written files and no second names: what is written there is whole at once or not there.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from fxengine.errors import InputError, path_of
from fxengine.files import Replacement, open_regular, read_small, remove
from fxengine.storage import BUCKETS, CREDENTIALS, Bucket, Found, Upload, absolute, is_remote, open_bucket, shown, split

SMALL_AT_ONCE = 32  # requests such as wait for a server most of the time
WHOLE_AT_ONCE = 4  # requests such as carry megabytes
_TAIL = 1 << 16  # bytes that come with the first request: in a part the footer is among them
_AHEAD = 1 << 16  # bytes that come with any other: in a part the small columns of a row group, which lie side by side
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # not the letter of a drive
_KNOWN = ", ".join(f"{scheme}://" for scheme in BUCKETS)
_SIGNS = (errno.EACCES, errno.ENOENT, errno.EIO, errno.ESTALE)  # of what a server said; others are said by readers

T = TypeVar("T")


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


def place_of(name: str, value: object) -> Path:
    """Return where the store is that the parameter `name` was given.

    Raises:
        InputError: it is no path, no bucket is named, or it lies on the web or where only others know ("gcs://").
    """
    path = path_of(name, value)
    if not is_remote(path):
        scheme = _SCHEME.match(str(path))
        if scheme and not os.path.lexists(f"{scheme[1]}:"):  # else a folder of that name would be made here
            raise InputError(
                f"What is given as {scheme[1]}:// is no store: one lies in a folder, or in a bucket ({_KNOWN})."
            )
        return path
    if split(path)[0] not in BUCKETS:
        raise InputError(f"{shown(path)} is no store: one lies in a folder, or in a bucket ({_KNOWN}).")
    return Path(absolute(path))


def reason_of(path: Path, error: Exception) -> str | None:
    """Return why a server did not give a file, and what to do, in sentences; None where it is no server's error."""
    if not is_remote(path) or not isinstance(error, OSError) or error.errno not in _SIGNS:
        return None
    if error.filename is not None and not is_remote(os.fsdecode(error.filename)):
        return None  # of a file of this machine, such as a copy in the cache
    if isinstance(error, PermissionError):
        advice = f"Set credentials that may read it: {CREDENTIALS[split(path)[0]]}."
    elif isinstance(error, FileNotFoundError) and "bucket" in str(error.strerror):
        advice = "Look at its name, and at the region or the endpoint (AWS_REGION, AWS_ENDPOINT_URL)."
    elif isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE:
        advice = "Run the same command again."
    else:
        advice = "Look at the network and the endpoint (AWS_ENDPOINT_URL), and run the same command again."
    return f"{error.strerror}. {advice}"


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
    return list(_listed(folder))


def may_have(folder: Path, beginning: str) -> bool:
    """Tell whether a folder is there, and in a bucket something whose name begins so: at the cost of one request.

    Raises OSError.
    """
    if not is_remote(folder):
        return folder.is_dir()
    if split(folder)[0] not in BUCKETS:
        return False
    bucket, key = _place(folder / beginning)
    page: list[Found] = next(bucket.pages(key.removesuffix(beginning).rstrip("/"), key), [])
    return any(found.key.startswith(key) for found in page)


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
        return _stamp_of(path, bucket.stat(key))
    status = path.stat()
    return str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamps(paths: Sequence[Path]) -> list[tuple[object, ...] | None]:
    """Return what `stamp` does of each of some files, None of one that cannot be looked at.

    All lie in one folder: in a bucket that is listed once. Raises OSError where it cannot be.
    """
    if not paths or not is_remote(paths[0]):
        return [_stamp_here(path) for path in paths]
    listed = _listed(paths[0].parent)
    return [_stamp_of(path, listed[path.name]) if path.name in listed else None for path in paths]


def sizes(paths: Sequence[Path]) -> list[int]:
    """Return the bytes of each of some files of one folder; raises OSError where one is not there."""
    if not paths or not is_remote(paths[0]):
        return [path.stat().st_size for path in paths]
    listed = _listed(paths[0].parent)
    return [listed[path.name].size if path.name in listed else 0 for path in paths]


def each(function: Callable[[Path], T], paths: Iterable[Path], at_once: int = SMALL_AT_ONCE) -> Iterator[T]:
    """Yield what a function gives for each of some files, in their order.

    In a bucket as many are asked for at once as are under way or wait to be taken: a request is mostly waiting.
    """
    items = iter(paths)
    first = next(items, None)
    if first is None:
        return
    if not is_remote(first):
        yield function(first)
        yield from map(function, items)
        return
    with ThreadPoolExecutor(at_once) as pool:
        waiting: deque[Future[T]] = deque([pool.submit(function, first)])
        try:
            for path in items:
                if len(waiting) == at_once:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, path))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def open_file(path: Path, *, follow: bool = False, whole: bool = False) -> BinaryIO:
    """Open a file for reading anywhere in it, one that is regular; a link only where `follow` says so.

    Of an object its end comes at once, and other bytes by ranges with some that follow, which are kept: all of the
    state in which it was opened. Where all is wanted (`whole`), it comes by one request.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is no such file, or cannot be read; later, that it was written anew meanwhile.
    """
    if not is_remote(path):
        return open_regular(path, follow=follow)
    bucket, key = _place(path)
    if whole:
        return BytesIO(bucket.get(key)[1]())
    return BufferedReader(_Object(bucket, *bucket.tail(key, _TAIL)), 1)  # reads nothing ahead of what is asked for


def copy(path: Path, out: BinaryIO) -> None:
    """Write what is in a file to another one, some megabytes at once; raises OSError."""
    if is_remote(path):
        bucket, key = _place(path)
        for block in bucket.stream(key)[1]:
            out.write(block)
    else:
        with open_regular(path) as opened:
            shutil.copyfileobj(opened, out)


@contextmanager
def here(path: Path) -> Iterator[Path]:
    """Yield a file of this machine with what is in a file: itself, or for the time of the block a copy.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fxengine-") as folder:
        copied = Path(folder, path.name)
        with copied.open("wb") as out:
            copy(path, out)
        yield copied


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


def state(path: Path) -> Found | None:
    """Return what a file in a bucket is now, to be given to `make` by who reads it and writes it anew; None on a disk.

    Raises:
        FileNotFoundError: there is none in the bucket.
        OSError: its server does not say.
    """
    if not is_remote(path):
        return None
    bucket, key = _place(path)
    return bucket.stat(key)


def states(folder: Path) -> dict[str, Found]:
    """Return name -> what `state` says, of all that lies in a folder; {} on a disk, whose lock nobody passes by.

    Raises OSError.
    """
    return _listed(folder) if is_remote(folder) else {}


def make(target: Path, read: Found | None = None) -> Made:
    """Return a file to write, to be put at `target`; raises OSError.

    Args:
        target: where.
        read: of an object that is written anew, its state when it was read; that of this moment unless given.
    """
    return Upload(*_place(target), read) if is_remote(target) else Replacement(target)


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


def end(path: Path, read: Found | None) -> None:
    """Remove a file whose name says that something goes on; in a bucket empty it, where it is as it was read.

    An object cannot be removed on a condition: what another one has put there since would go with it. One that is
    empty counts as none, and is replaced by `Made.create`. Raises OSError of a server.
    """
    if read is None:
        delete(path)
    else:
        _place(path)[0].replace(b"", read)


def make_folder(folder: Path) -> None:
    """Make a folder whose parent is there, unless it is there, too; a bucket needs none. Raises OSError."""
    if not is_remote(folder):
        folder.mkdir(exist_ok=True)


def _place(path: Path) -> tuple[Bucket, str]:
    scheme, name, key = split(path)
    return open_bucket(scheme, name), key


def _listed(folder: Path) -> dict[str, Found]:
    """Return name -> what the server says, of what lies in a folder in a bucket; raises OSError."""
    bucket, key = _place(folder)
    prefix = f"{key}/" if key else ""
    return {found.key.removeprefix(prefix): found for found in bucket.files(key)}


def _stamp_of(path: Path, found: Found) -> tuple[object, ...]:
    return str(path), found.size, found.etag or found.mtime_ns


def _stamp_here(path: Path) -> tuple[object, ...] | None:
    try:
        return stamp(path)
    except OSError:
        return None


class _Object(io.RawIOBase):
    """An object that is open."""

    def __init__(self, bucket: Bucket, found: Found, tail: bytes) -> None:
        self._bucket, self._found, self._at = bucket, found, 0
        self._blocks = {found.size - len(tail): tail}  # what came, by where it begins

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
        at, count = self._at, min(len(out), self._found.size - self._at)
        if count <= 0:
            return 0
        begin = next((begin for begin, block in self._blocks.items() if begin <= at < begin + len(block)), at)
        if begin not in self._blocks:
            self._blocks[at] = self._bucket.range(self._found, at, min(at + max(count, _AHEAD), self._found.size))
        content = self._blocks[begin][at - begin : at - begin + count]
        if count > _AHEAD:  # is not asked for again
            self._blocks.pop(at, None)
        out[: len(content)] = content
        self._at += len(content)
        return len(content)

    def readall(self) -> bytes:
        return self.read(max(0, self._found.size - self._at)) or b""
