"""Writes a table of results to a file: Parquet, CSV or JSON, by its suffix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from fxengine.errors import InputError, explained
from fxengine.files import replacing

SUFFIXES = (".parquet", ".csv", ".json")


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write a table; the file is whole or it is not there.

    Raises:
        InputError: the suffix is none of .parquet, .csv and .json, or the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    with explained(f"Cannot write {path}", kind=InputError), replacing(path, or_into=True) as temporary:
        if path.suffix.lower() == ".parquet":
            pq.write_table(table, temporary)
        elif path.suffix.lower() == ".csv":
            pa.csv.write_csv(table, temporary)
        else:
            temporary.write_text(json.dumps(table.to_pylist(), indent=1) + "\n")


def check_suffix(path: str | Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise InputError where a path ends in none of these or has no folder: better before a long run than after it."""
    if Path(path).suffix.lower() not in suffixes:
        raise InputError(f"`output` {path} must end in {', '.join(suffixes)}.")
    if not Path(path).parent.is_dir():
        raise InputError(f"`output` {path} cannot be written: there is no folder {Path(path).parent}. Make it first.")
