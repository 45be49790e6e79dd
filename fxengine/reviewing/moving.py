"""Moves and removes files below a folder: no link is followed, nothing overwritten, and only what was looked at goes.

Every folder is opened by its name in the one before, so that a link that somebody puts there meanwhile leads nowhere. A
file gets a name that nobody knows before it goes: whoever swaps it in the last moment keeps what he put there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fxengine.errors import InputError
from fxengine.files import TEMPORARY

_BLOCK = 1 << 20  # bytes
# Where a file cannot have a second name: other disks, and file systems that have no such thing.
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LeftOut(Exception):
    """A file is left as it is; the sentence says why."""


def ensure_possible() -> None:
    """Raise InputError where the system cannot open files by their folder."""
    if not {os.open, os.stat, os.link, os.unlink, os.rename} <= os.supports_dir_fd:
        raise InputError("On this system files cannot be moved safely: `fxengine apply` works on Linux and macOS.")


def check(root: Path, path: str, content_hash: str) -> None:
    """Look whether a file is there and has this content.

    Args:
        root: a folder.
        path: below it, with "/".
        content_hash: SHA-256 of the file, in hex.

    Raises:
        LeftOut: it is not there, is no regular file, lies behind a link, or has another content.
        OSError: it cannot be read.
    """
    with _folder_of(root, path) as (folder, name), _regular(folder, name) as file:
        _ensure_content(file, content_hash)


def delete(root: Path, path: str, content_hash: str) -> None:
    """Delete a file for good; arguments and errors are those of `check`."""
    with _folder_of(root, path) as (folder, name), _regular(folder, name) as file:
        _ensure_content(file, content_hash)
        _take_away(folder, name, file)


def move(root: Path, to: Path, path: str, content_hash: str) -> None:
    """Move a file to the same path below another folder; arguments and errors are those of `check`.

    Raises:
        LeftOut: also where something is there already.
    """
    with (
        _folder_of(root, path) as (folder, name),
        _regular(folder, name) as file,
        _folder_of(to, path, make=True) as (other, new),
    ):
        _ensure_content(file, content_hash)
        try:
            _second_name(folder, name, file, other, new, content_hash)
        except FileExistsError:
            raise LeftOut(f"Something is at {to / path} already, and nothing is overwritten.") from None
        _take_away(folder, name, file)


@contextmanager
def _folder_of(root: Path, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the handle of the folder that a file lies in, and the file's name."""
    *folders, name = path.split("/")
    if not all(part not in ("", ".", "..") and "\0" not in part for part in (*folders, name)):
        raise LeftOut("Its id leads elsewhere.")
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
            inner = _opened(part, os.O_RDONLY | os.O_DIRECTORY, handle)
            os.close(handle)
            handle = inner
        yield handle, name
    finally:
        os.close(handle)


@contextmanager
def _regular(folder: int, name: str) -> Iterator[int]:
    file = _opened(name, os.O_RDONLY | os.O_NONBLOCK, folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise LeftOut("It is no regular file.")
        yield file
    finally:
        os.close(file)


def _opened(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        raise LeftOut("It is not there.") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise LeftOut("A link, or what is no file, is on the way, and none is followed.") from None
        raise


def _ensure_content(file: int, content_hash: str) -> None:
    digest = hashlib.sha256()
    while block := os.read(file, _BLOCK):
        digest.update(block)
    if digest.hexdigest() != content_hash:
        raise LeftOut("Its content is another one since it was extracted.")


def _second_name(folder: int, name: str, file: int, other: int, new: str, content_hash: str) -> None:
    """Give a file a name in another folder, or there a copy of it, whole and on the disk; raises FileExistsError."""
    try:
        os.link(name, new, src_dir_fd=folder, dst_dir_fd=other, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(file, other, new, content_hash)
        return
    if not _is_same(other, new, file):
        os.unlink(new, dir_fd=other)
        raise LeftOut("It was replaced while it was looked at.")
    _flush(other)


def _copy(file: int, other: int, new: str, content_hash: str) -> None:
    found = os.fstat(file)
    made = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, stat.S_IMODE(found.st_mode), dir_fd=other)
    try:
        os.lseek(file, 0, os.SEEK_SET)
        with os.fdopen(os.dup(file), "rb") as source, os.fdopen(os.dup(made), "wb") as copied:
            shutil.copyfileobj(source, copied)
        os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fsync(made)
        os.lseek(made, 0, os.SEEK_SET)
        _ensure_content(made, content_hash)
    except BaseException:
        os.unlink(new, dir_fd=other)
        raise
    finally:
        os.close(made)
    _flush(other)


def _take_away(folder: int, name: str, file: int) -> None:
    """Remove a name of a file that is open; where it is another file's by now, that gets it back."""
    hidden = f".{TEMPORARY}{secrets.token_hex(16)}"
    os.rename(name, hidden, src_dir_fd=folder, dst_dir_fd=folder)
    if not _is_same(folder, hidden, file):
        os.link(hidden, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.unlink(hidden, dir_fd=folder)
        raise LeftOut("It was replaced while it was looked at.")
    os.unlink(hidden, dir_fd=folder)
    _flush(folder)


def _flush(folder: int) -> None:
    with suppress(OSError):  # not every file system can; all is in its place by now
        os.fsync(folder)


def _is_same(folder: int, name: str, file: int) -> bool:
    return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(file))
