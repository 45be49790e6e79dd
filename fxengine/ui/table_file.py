"""Writes results to files: a table as Parquet, CSV or JSON, by the suffix; a page; a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from fxengine.errors import InputError
from fxengine.files import replacing

SUFFIXES = (".parquet", ".csv", ".json")


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table; the file is whole or it is not there.

    Raises:
        InputError: the suffix is none of .parquet, .csv and .json, or the file cannot be written.
    """
    check_suffix(path)
    try:
        with replacing(path, or_into=True) as temporary:
            if path.suffix.lower() == ".parquet":
                pq.write_table(table, temporary)
            elif path.suffix.lower() == ".csv":
                pa.csv.write_csv(table, temporary)
            else:
                temporary.write_text(json.dumps(table.to_pylist(), indent=1) + "\n")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise InputError where a path ends in none of these: better before a long run than after it."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"-o {path} must end in {', '.join(suffixes)}.")


def write_text(text: str, path: Path) -> None:
    """Write a page in the same way; raises InputError."""
    _write(text.encode(), path)


def write_picture(png: bytes, path: Path) -> None:
    """Write a plot in the same way; raises InputError, also where the suffix is not .png."""
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} must end in .png.")
    _write(png, path)


def _write(data: bytes, path: Path) -> None:
    try:
        with replacing(path, or_into=True) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
