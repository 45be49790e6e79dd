"""A log of the files that were moved or deleted, by which `fxengine apply` takes it back."""

from __future__ import annotations

import csv
import os
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

from fxengine.errors import InputError, explained
from fxengine.files import flush_folder
from fxengine.reviewing.csv_file import id_cell
from fxengine.reviewing.journal import make_folder

FILE = "file"  # what a line of it is about
MOVED, DELETED = "moved", "deleted"
_COLUMNS = ("about", "id", "decision", "content_hash")


class UndoLog:
    """Notes each file before anything is done to it; made with the first one.

    Attributes:
        path: the file, None before.
    """

    def __init__(self, folder: Path) -> None:
        self.path: Path | None = None
        self._folder = folder
        self._file: TextIO | None = None

    def __enter__(self) -> UndoLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def note(self, key: str, what: str, content_hash: str) -> None:
        """Write a line; when this returns it is on the disk. Raises InputError where it cannot be written."""
        with explained(f"Cannot write to {self._folder}", kind=InputError):
            if self._file is None:
                self._file = self._made()
                csv.writer(self._file, lineterminator="\n").writerow(_COLUMNS)
            csv.writer(self._file, lineterminator="\n").writerow((FILE, id_cell(key), what, content_hash))
            self._file.flush()
            os.fsync(self._file.fileno())

    def _made(self) -> TextIO:
        make_folder(self._folder)
        name = f"undo-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}.csv"
        self.path = self._folder / name
        file = self.path.open("x", newline="", encoding="utf-8")
        flush_folder(self._folder)
        return file
