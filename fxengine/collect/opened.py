"""Containers that are open: which files are some, and the few that were asked for last, kept open."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Protocol

from fxengine.collect.item import TextColumns, stamp
from fxengine.collect.members import Member

# End of a container's name -> module and class that opens it. To add a format, write the class and name it here.
FORMATS = {
    ".tar": ("fxengine.collect.tar", "Tar"),
    ".tar.gz": ("fxengine.collect.tar", "Tar"),
    ".tgz": ("fxengine.collect.tar", "Tar"),
    ".zip": ("fxengine.collect.zipped", "Zipped"),
    ".parquet": ("fxengine.collect.picture_table", "PictureTable"),
}
_OPEN = 8  # at once
_opening = threading.Lock()  # a large one is not opened by two readers


class Archive(Protocol):
    """A class of `FORMATS`, made of a path; raises InputError where the file is no such, in a sentence, and OSError.

    Attributes:
        cut: what is missing at its end, a sentence, or "".
    """

    cut: str

    def members(self, *, texts: bool, columns: TextColumns) -> Iterator[Member]:
        """Yield the inputs in it, sorted by id; raises InputError where a column is missing or holds none."""

    def find(self, path: str, /) -> Member | None:
        """Return the member at a path inside, None where there is none."""

    def read(self, member: Member, max_bytes: int, /) -> bytes:
        """Return what a member holds, any thread may ask; raises DecodeError."""


def is_archive(name: str) -> bool:
    """Tell by a file's name whether it is a container."""
    return name.lower().endswith((*FORMATS,))


def open_archive(path: str) -> tuple[Archive, int]:
    """Return a container and the mtime_ns that it has now; raises InputError where it is none, and OSError."""
    size, mtime_ns = stamp(os.stat(path))
    with _opening:
        return _open(path, size, mtime_ns), mtime_ns


def archive_above(path: str) -> tuple[str, str] | None:
    """Return a container that is a file, and what a path names inside of it; None where it leads through none."""
    container, inside = path, ""
    while (parent := os.path.dirname(container)) != container:  # noqa: PTH120 - of text, a thousand times a second
        inside = os.path.basename(container) + (f"/{inside}" if inside else "")  # noqa: PTH119
        container = parent
        if is_archive(container) and os.path.isfile(container):  # noqa: PTH113 - a name may be too long
            return container, inside
    return None


@lru_cache(_OPEN)
def _open(path: str, size: int, mtime_ns: int) -> Archive:
    module, name = next(FORMATS[end] for end in sorted(FORMATS, key=len, reverse=True) if path.lower().endswith(end))
    archive: Archive = getattr(import_module(module), name)(Path(path))
    return archive
