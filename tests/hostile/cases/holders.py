"""Stores that another process holds, with odd notes of who it is."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.hostile.cases import DEEP, Case, Kit


@contextmanager
def held(store: Path) -> Any:
    """Hold a store's lock, as another process that writes does; its note stays what it is."""
    with FileLock(store / ".lock"):
        yield


def holder(note: object) -> Case:
    """Return a store that another process holds, whose note says something odd."""

    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder)
        raw = note if isinstance(note, bytes) else json.dumps(note).encode()
        (store / ".lock.holder").write_bytes(raw)
        return store

    return Case(build, "is being written to by", during=held)


_HOLDER = {"pid": 1, "host": "here", "since": 0}
HELD = {
    "holder sound": holder(_HOLDER),
    "holder since long ago": holder({**_HOLDER, "since": -1e300}),
    "holder since for ever": holder({**_HOLDER, "since": 1e300}),
    "holder since a text": holder({**_HOLDER, "since": "x"}),
    "holder since nothing": holder({**_HOLDER, "since": None}),
    "holder since NaN": holder(b'{"pid": 1, "host": "here", "since": NaN}'),
    "holder a list": holder([1, 2]),
    "holder a number": holder(5),
    "holder deep": holder(b"[" * DEEP),
    "holder no UTF-8": holder(b"\xff\xfe"),
    "holder of control characters": holder({**_HOLDER, "host": "\x1b[2J\nb"}),
    "holder of 10 MB": holder({**_HOLDER, "host": "x" * 10_000_000}),
    "holder a pid of many digits": holder(b'{"pid": ' + b"9" * 5000 + b', "host": "a", "since": 0}'),
}
