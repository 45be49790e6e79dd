"""A journal: what a person answers, one line of JSON each, on the disk before it counts as said."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from fxengine.errors import InputError, explained
from fxengine.files import flush_folder
from fxengine.storage import is_remote, shown

if sys.platform != "win32":
    import fcntl

Entry = Mapping[str, Any]

_MOST = 1 << 30  # bytes


def review_folder(store: Path) -> Path:
    """Return where the answers about a store lie: beside it, for it can be computed again, and they cannot.

    Raises InputError of one in a bucket, where no file grows by a line.
    """
    if is_remote(store):
        raise InputError(f"{shown(store)} lies in a bucket: name a folder for what is answered, as `review`.")
    whole = Path(os.path.abspath(store))
    return whole.with_name(f"{whole.name}.review")


def make_folder(folder: Path) -> None:
    """Make the folder of answers where it is not there; raises InputError where it is a link, or cannot be made."""
    with explained(f"Cannot write to {folder}", kind=InputError):
        folder.mkdir(exist_ok=True)
    ensure_no_link(folder)


def ensure_no_link(folder: Path) -> None:
    """Raise InputError where a folder of answers is a link: somebody else may have made it."""
    if folder.is_symlink():
        raise InputError(f"{folder} is a link, and none is followed there: delete it.")


class Journal:
    """A file that only grows, and what it says; several processes may write to it.

    A line is an entry with its `time`, in seconds since 1970, and the number of the `answer` that it belongs to, or
    takes an answer back (`undo`). One that cannot be read, as the last one after a power cut, is left out.

    Attributes:
        path: the file.
        damaged: how many lines cannot be read.
    """

    def __init__(
        self, path: Path, is_entry: Callable[[Entry], bool], changed: Callable[[Sequence[Entry]], None]
    ) -> None:
        """Read what is there.

        Args:
            path: the file; it need not be there.
            is_entry: tells whether an object of JSON has what an entry has.
            changed: called with the entries of the answers that stand, the oldest first, whenever there are others,
                while nobody else can add to them: what it writes is never older than what another process wrote.

        Raises:
            InputError: it cannot be read: it is a link, no file, or too large.
        """
        self.path, self.damaged = path, 0
        self._is_entry, self._changed, self._lock = is_entry, changed, threading.Lock()
        self._answers: dict[int, list[Entry]] = {}
        self._last = self._read = 0
        self._torn = False
        self.refresh()

    def refresh(self) -> bool:
        """Read what was added since, by another process, too; tell whether there was anything."""
        if not os.path.lexists(self.path):
            return False
        with self._lock, self._opened(os.O_RDONLY) as file:
            is_new = self._catch_up(file)
            if is_new:
                with suppress(InputError):  # a folder that can only be read
                    self._tell()
        return is_new

    def append(self, entries: Sequence[Entry]) -> None:
        """Note an answer; when this returns it is on the disk.

        Raises:
            InputError: it cannot be written; then nothing of it counts.
        """
        with self._lock, self._opened(os.O_RDWR | os.O_CREAT | os.O_APPEND) as file:
            self._catch_up(file)
            head = {"time": round(time.time(), 3), "answer": self._last + 1}
            self._write(file, [{**head, **entry} for entry in entries])
            self._tell()

    def undo(self) -> list[Entry]:
        """Take the last answer that stands back and return its entries; empty where none stands.

        Raises:
            InputError: it cannot be written.
        """
        with self._lock, self._opened(os.O_RDWR | os.O_CREAT | os.O_APPEND) as file:
            self._catch_up(file)
            if not self._answers:
                return []
            number, taken = next(reversed(self._answers.items()))
            self._write(file, [{"time": round(time.time(), 3), "undo": number}])
            self._tell()
            return taken

    def _tell(self) -> None:
        self._changed([*chain.from_iterable(self._answers.values())])

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        """Open the file, no link on the way, and hold its lock."""
        folder, further = self.path.parent, getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with explained(f"{self.path} cannot be used", kind=InputError):
            if flags & os.O_CREAT:
                make_folder(folder)
            ensure_no_link(folder)
            file = os.open(self.path, flags | further, 0o666)
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                    raise InputError(f"{self.path} is no file, or one with another name, too: delete it.")
                if sys.platform != "win32":
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield file
            finally:
                os.close(file)

    def _write(self, file: int, lines: Sequence[Entry]) -> None:
        """Write lines behind all others and take them in; where that fails, what was written of them goes again."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        left = ("\n" if self._torn else "").encode() + text.encode()
        begin, is_new = os.fstat(file).st_size, os.fstat(file).st_size == 0
        try:
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, begin)
            raise
        if is_new:
            flush_folder(self.path.parent)
        self._catch_up(file)

    def _catch_up(self, file: int) -> bool:
        size = os.fstat(file).st_size
        if size > _MOST:
            raise InputError(f"{self.path} is longer than {_MOST:,} bytes: that is no journal.")
        if size <= self._read:
            return False
        with os.fdopen(os.dup(file), "rb") as opened:
            opened.seek(self._read)
            content = opened.read(size - self._read)
        self._read, self._torn = size, not content.endswith(b"\n")
        for line in content.split(b"\n"):
            if line:
                self._take(line)
        return True

    def _take(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict) and type(said.get("undo")) is int:
            self._answers.pop(said["undo"], None)
        elif isinstance(said, dict) and _is_number(said.get("answer")) and self._is_entry(said):
            self._answers.setdefault(said["answer"], []).append(said)
            self._last = max(self._last, said["answer"])
        else:
            self.damaged += 1


def is_row(said: Entry) -> bool:
    """Tell whether an entry names a row: its id, its number, and the hash of its content, or null."""
    hashed = said.get("content_hash", -1)
    return is_text(said.get("id")) and _is_number(said.get("row")) and (hashed is None or is_text(hashed))


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def is_text(value: object) -> bool:
    """Tell whether a value is text that UTF-8 can hold."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)
