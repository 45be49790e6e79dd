"""Writes a table of results to a file: Parquet, CSV or JSON, by the file's suffix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from fxengine.errors import InputError

SUFFIXES = (".parquet", ".csv", ".json")


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table; the file is whole or it is not there.

    Raises:
        InputError: the suffix is none of .parquet, .csv and .json, or the file cannot be written.
    """
    check_suffix(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        if path.suffix.lower() == ".parquet":
            pq.write_table(table, temporary)
        elif path.suffix.lower() == ".csv":
            pa.csv.write_csv(table, temporary)
        else:
            temporary.write_text(json.dumps(table.to_pylist(), indent=1) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise InputError where a path ends in none of these: better before a long run than after it."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"-o {path} must end in {', '.join(suffixes)}.")


def write_text(text: str, path: Path) -> None:
    """Write a page in the same way; raises InputError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
