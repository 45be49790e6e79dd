"""One writer at a time: the store's lock, which the operating system lets go of when its holder dies."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fxengine.errors import StoreError, StoreLocked
from fxengine.features.schema import LOCK_NAME


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the store's lock, making the folder where it is not there.

    Raises:
        StoreLocked: another process holds it; says which.
        StoreError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME, timeout=0)
        lock.acquire()
    except Timeout:
        raise StoreLocked(f"{folder} is being written to by {_holder(folder)}. Wait for it, or stop it.") from None
    except OSError as error:
        raise StoreError(f"Cannot write to {folder}: {error.strerror or error}. Choose another with -o.") from error
    try:
        _note(folder).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
        yield
    except OSError as error:
        if error.filename == str(_note(folder)):
            raise StoreError(f"Cannot write to {folder}: {error.strerror}.") from error
        raise
    finally:
        _note(folder).unlink(missing_ok=True)
        lock.release()


def _note(folder: Path) -> Path:
    return folder / f"{LOCK_NAME}.holder"


def _holder(folder: Path) -> str:
    try:
        note = json.loads(_note(folder).read_text())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note["since"]))
        return f"process {note['pid']} on {note['host']} since {since}"
    except (OSError, ValueError, KeyError):
        return "another process"
