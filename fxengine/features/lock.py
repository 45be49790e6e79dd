"""One writer at a time: the store's lock, which the operating system lets go of when its holder dies.

A store in a bucket has a lease instead.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from fxengine.errors import StoreError, StoreLocked, explained
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.features.holder import Holder
from fxengine.features.lease import leased
from fxengine.features.schema import LOCK_NAME
from fxengine.files import read_small, replacing
from fxengine.storage import is_remote

_FORMAT = 1
_LONGEST = 4096  # bytes of the holder's note


@contextmanager
def locked(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold the store's lock, making the folder where it is not there; where nothing comes of it, that goes again.

    Yields what raises StoreLocked where it is held no more: a lease that is not renewed in time is lost, a lock is not.

    Raises:
        StoreLocked: another process holds it; says which.
        StoreError: the folder cannot be made or written to.
    """
    if is_remote(folder):
        with leased(folder) as ensure_held:
            yield ensure_held
        return
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
            temporary.write_text(json.dumps({"format": _FORMAT, **asdict(Holder.here())}))
        yield _as_ever
    finally:
        with suppress(OSError):
            _note(folder).unlink()
            if is_new and [*folder.iterdir()] == [folder / LOCK_NAME]:
                (folder / LOCK_NAME).unlink()  # while it is held: who comes now makes a new one
                folder.rmdir()
        lock.release()


def _as_ever() -> None:
    """Do nothing: only its holder lets a lock go."""


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
        return str(facts_from(Holder, read_json(read_small(note, _LONGEST)), _FORMAT))
    except FactsError as error:
        return f"another process ({note.name} {error})"
    except OSError:
        return "another process"
