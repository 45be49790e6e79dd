"""One writer at a time: the store's lock, which the operating system lets go of when its holder dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fxengine.errors import StoreError, StoreLocked, explained
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.features.schema import LOCK_NAME
from fxengine.files import read_small, replacing
from fxengine.storage import is_remote

_FORMAT = 1
_LONGEST = 4096  # bytes of the holder's note


@dataclass(frozen=True)
class _Holder:
    """Who holds the lock: its process, its machine, and since when, in seconds since 1970."""

    pid: int
    host: str
    since: float

    def __post_init__(self) -> None:
        if self.pid < 1:
            raise ValueError(f"'pid' cannot be {self.pid}")
        if not self.host.isprintable():
            raise ValueError(f"'host' cannot be {self.host[:60]!r}")
        if not 0 <= self.since < 1 << 40:  # later, no calendar has a year for it
            raise ValueError(f"'since' cannot be {self.since}")

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the store's lock, making the folder where it is not there; where nothing comes of it, that goes again.

    Raises:
        StoreLocked: another process holds it; says which.
        StoreError: the folder cannot be made or written to.
    """
    if is_remote(folder):
        raise StoreError(f"{folder} is in a bucket, and stores are written to disks alone: choose a folder here.")
    with explained(f"Cannot write to {folder}", "Choose another as `output`.", StoreError):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(_regular(folder / LOCK_NAME), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StoreLocked(f"{folder} is being written to by {_holder(folder)}. Wait for it, or stop it.") from None
    try:
        with explained(f"Cannot write to {folder}", kind=StoreError), replacing(_note(folder)) as temporary:
            holder = _Holder(os.getpid(), socket.gethostname(), max(0.0, time.time()))
            temporary.write_text(json.dumps({"format": _FORMAT, **asdict(holder)}))
        yield
    finally:
        with suppress(OSError):
            _note(folder).unlink()
            if is_new and [*folder.iterdir()] == [folder / LOCK_NAME]:
                (folder / LOCK_NAME).unlink()  # while it is held: who comes now makes a new one
                folder.rmdir()
        lock.release()


def _regular(path: Path) -> Path:
    """Return the path of a lock.

    Raises OSError where what is there is no file, or has a second name: some versions of filelock follow a link, and
    empty the file that they lock.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file, delete it", str(path))
        if found.st_nlink > 1:
            raise OSError(errno.EMLINK, "It is a file that has another name, too: delete this one", str(path))
    return path


def _note(folder: Path) -> Path:
    return folder / f"{LOCK_NAME}.holder"


def _holder(folder: Path) -> str:
    note = _note(folder)
    try:
        return str(facts_from(_Holder, read_json(read_small(note, _LONGEST)), _FORMAT))
    except FactsError as error:
        return f"another process ({note.name} {error})"
    except OSError:
        return "another process"
