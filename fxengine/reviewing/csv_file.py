"""Small tables of ids, as CSV, that a spreadsheet may open: no id becomes a formula there."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from fxengine.errors import InputError, explained
from fxengine.files import replacing

# What begins so is a formula to a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_HERE = "./"


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; the file is whole or it is not there.

    Raises:
        InputError: it cannot be written.
    """
    with (
        explained(f"Cannot write {path}", kind=InputError),
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([names, *rows])


def id_cell(key: str) -> str:
    """Return an id as it is written: behind "./" where it would be a formula, which every reader of ids leaves out."""
    return _HERE + key if key.startswith(FORMULA) else key


def id_in(cell: str) -> str:
    """Return the id that a cell was written for."""
    bare = cell.removeprefix(_HERE)
    return bare if bare.startswith(FORMULA) else cell
