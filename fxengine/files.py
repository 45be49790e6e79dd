"""Replaces a file or a folder whole: what is there stays until what takes its place is complete and on the disk.

The new one is written in the same folder, as `.NAME.tmp-` and 16 random hex digits. The name does not end like NAME:
`*.parquet` finds nothing half-written, and a writer that goes by the suffix must be given an open file.

The new one is locked while it is written, and the operating system lets go of the lock when its process dies, even by
SIGKILL: the next one for the same place removes those that nobody holds.

Standard output by its name in /dev, and the devices there, are written to once the new one is complete.

Imports the standard library alone: train/children/train_child.py loads this file by its path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

if sys.platform != "win32":
    import fcntl

TEMPORARY = ".tmp-"
_LONGEST = 200  # bytes of a name that are kept; file systems end at 255
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # said where there are none
_HERE, _NOREPLACE = -100, 1  # AT_FDCWD and RENAME_NOREPLACE of Linux


@contextmanager
def replacing(target: Path, *, or_into: bool = False) -> Iterator[Path]:
    """Yield an empty file beside `target`, which takes its place when the block ends well and is removed when not.

    Its permissions are those of this user's file that it replaces, else those that the umask leaves. A link at `target`
    is replaced; what it points to is not touched.

    Args:
        target: what is replaced.
        or_into: whether it is written into what is there where that cannot be replaced (a pipe, a file in a folder that
            may not be written to, one that is mounted by itself): for what a person can have made again.

    Raises:
        OSError: it cannot be made, written or put into place; what was at `target` is still there.
    """
    new = Replacement(target, or_into=or_into)
    try:
        yield new.path
        new.commit()
    finally:
        new.close()


def read_small(path: Path, most: int) -> bytes:
    """Return what is in a regular file of at most `most` bytes; neither is a link followed nor a pipe waited for.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is a link, a folder, a pipe or a device, is longer, or cannot be read; `strerror` says which.
    """
    with open_regular(path) as opened:
        size = os.fstat(opened.fileno()).st_size
        content = opened.read(most + 1) if size <= most else b""
    if max(size, len(content)) > most:
        raise OSError(errno.EFBIG, f"It is longer than {most:,} bytes", str(path))
    return content


def open_regular(path: Path, *, follow: bool = False) -> BufferedReader:
    """Open a regular file for reading; a pipe is not waited for, nor a link followed unless `follow` says so.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is a link, a folder, a pipe or a device, or cannot be read; `strerror` says which.
    """
    # Windows knows only the last, without which it would end a file at its first Ctrl-Z.
    names = ("O_NONBLOCK", "O_BINARY") if follow else ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
    flags = sum(getattr(os, name, 0) for name in names)
    try:
        handle = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        if follow or not path.is_symlink():
            raise
        raise OSError(errno.ELOOP, "It is a link, and links are not followed", str(path)) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "It is not a regular file", str(path))
    return open(handle, "rb")  # noqa: PTH123


class Replacement:
    """The file of `replacing`, for those who cannot write it in one block; `close` must follow in any case.

    Attributes:
        path: where to write.
    """

    def __init__(self, target: Path, *, or_into: bool = False) -> None:
        """Make it, empty; raises OSError."""
        if not target.name:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        if not target.parent.is_dir():  # said of the folder, not of a temporary name in it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
        self._target, self._or_into = target, or_into
        self._through = _is_of_system(target) or (or_into and not _can_be_replaced(target))
        beside = Path(tempfile.gettempdir(), target.name) if self._through else target
        self.path, self._lock = _make(beside, folder=False)
        self._mode = _mode_of(target) or stat.S_IMODE(os.lstat(self.path).st_mode)
        self._chmod(self._mode | stat.S_IRUSR | stat.S_IWUSR)  # a umask may forbid even the owner

    def commit(self) -> None:
        """Flush it to the disk and put it into its place; raises OSError."""
        if self._through:
            self._copy()
            return
        self._settle()
        try:
            self.path.replace(self._target)
        except OSError as error:
            if error.errno != errno.EBUSY or not self._or_into:
                raise
            self._copy()  # mounted by itself, as containers do
        flush_folder(self._target.parent)

    def create(self) -> bool:
        """Flush it to the disk and put it where nothing is; return False where something was there first.

        Of several processes that do so at once exactly one is told True, on shared file systems, too; an answer that a
        network lost may come as False to the one that did it. Raises OSError.
        """
        self._settle()
        created = create_as(self.path, self._target)
        flush_folder(self._target.parent)
        return created

    def _settle(self) -> None:
        _flush(self.path)
        self._chmod(self._mode)
        if self._lock is not None and not os.path.samestat(os.fstat(self._lock), os.lstat(self.path)):
            raise OSError(errno.ESTALE, "Another file took its place while it was written", str(self.path))

    def _chmod(self, mode: int) -> None:
        # By the handle, where there is one: the name may be another file's by now.
        os.chmod(self.path if self._lock is None else self._lock, mode)  # noqa: PTH101

    def _copy(self) -> None:
        with self.path.open("rb") as made, self._target.open("wb") as out:
            shutil.copyfileobj(made, out)

    def close(self) -> None:
        """Remove it unless it was committed."""
        remove(self.path)
        _release(self._lock)


def create_as(made: Path, target: Path) -> bool:
    """Give a file the name `target` unless something has it; tell whether it got it.

    Raises:
        OSError: the file system can do so in no way that two processes cannot both succeed in.
    """
    try:
        os.link(made, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _rename_to_nothing(made, target)
    return True


def _rename_to_nothing(made: Path, target: Path) -> bool:
    """Rename a file unless that replaces another: what file systems without hard links may have instead."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    number = errno.ENOSYS
    if rename is not None:
        if rename(_HERE, os.fsencode(made), _HERE, os.fsencode(target), _NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in (errno.EINVAL, *_NO_LINKS):
        why = "Its file system has neither hard links nor a rename that replaces nothing, and many workers need one"
        raise OSError(errno.ENOTSUP, why, str(target))
    raise OSError(number, os.strerror(number), str(target))


def _is_of_system(target: Path) -> bool:
    """Tell whether a path is one of the system's own names for devices and open files."""
    folder = f"{os.path.abspath(target.parent)}/"
    return folder.startswith(("/dev/", "/proc/")) and not folder.startswith("/dev/shm/")


def _can_be_replaced(target: Path) -> bool:
    try:
        mode = os.lstat(target).st_mode
    except OSError:
        return True
    if stat.S_ISREG(mode):
        return os.access(target.parent, os.W_OK) or not os.access(target, os.W_OK)
    return stat.S_ISLNK(mode) or stat.S_ISDIR(mode)


def _mode_of(file: Path) -> int:
    """Return the permissions of this user's file, without setuid and its like; 0 where there is none."""
    try:
        found = os.lstat(file)
    except OSError:
        return 0
    ours = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return found.st_mode & 0o777 if ours and stat.S_ISREG(found.st_mode) else 0


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder for files, which takes the place of `target` as in `replacing`.

    There is a moment in which there is neither: no system but Linux exchanges two folders in one step.

    Raises:
        OSError: it cannot be made or put into place; what was at `target` is still there.
    """
    made, lock = _make(target, folder=True)
    try:
        yield made
        for file in made.iterdir():
            _flush(file)
        flush_folder(made)
        _exchange(made, target)
        flush_folder(target.parent)
    finally:
        remove(made)
        _release(lock)


def _exchange(made: Path, target: Path) -> None:
    """Put one folder into another's place, and the other one back where that fails."""
    old = _beside(target)
    if target.exists():
        target.replace(old)
    try:
        made.replace(target)
    except BaseException:
        with suppress(OSError):
            old.replace(target)
        raise
    remove(old)


def _make(target: Path, *, folder: bool) -> tuple[Path, int | None]:
    """Make an empty file or folder beside `target`; return it and the handle of its lock."""
    remove_temporaries(target.parent, re.escape(_prefix(target)))
    while True:
        path = _beside(target)
        if folder:
            path.mkdir()
        else:
            path.touch(exist_ok=False)  # O_EXCL: nor is a link followed
        lock = _hold(path, wait=True)
        if path.exists():
            return path, lock
        _release(lock)  # another process took it for a leftover before it was locked


def _beside(target: Path) -> Path:
    return target.with_name(_prefix(target) + secrets.token_hex(8))


def _prefix(target: Path) -> str:
    name = target.name.encode(errors="ignore")[:_LONGEST].decode(errors="ignore")
    return f".{name}{TEMPORARY}"


def remove_temporaries(folder: Path, name: str = r"\..*" + re.escape(TEMPORARY)) -> None:
    """Remove what processes that died left in a folder; where nothing can be locked, it stays.

    Args:
        folder: where it is looked for.
        name: a regular expression for what the names begin with, all before the random digits; any unless given.
    """
    ours = re.compile(name + "[0-9a-f]{16}")
    with suppress(OSError), os.scandir(folder) as found:
        leftovers = [Path(entry.path) for entry in found if ours.fullmatch(entry.name)]
        for path in leftovers:
            lock = _hold(path, wait=False)
            if lock is not None:
                remove(path)
                _release(lock)


def _hold(path: Path, *, wait: bool) -> int | None:
    """Lock a temporary; return the handle that holds it, or None where another one does or it cannot be locked."""
    if sys.platform == "win32":
        return None
    # Not for reading alone: such a lock is refused by NFS.
    flags = (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, flags)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; what cannot be removed, as a temporary of another user's, stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _flush(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where that can be done."""
    with suppress(OSError):  # neither Windows nor every file system can; all is in its place by now
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
