"""Writes predictions to a file as they come: JSON, CSV or Parquet, by the file's suffix."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fxengine.errors import InputError
from fxengine.features.table_file import check_suffix
from fxengine.files import replacing
from fxengine.probing.prediction import SCHEMA, Prediction

_CHUNK = 8192
_Write = Callable[[list[dict[str, object]]], None]


def write_predictions(predictions: Iterable[Prediction], path: str | Path) -> tuple[int, int]:
    """Write a row an input; return how many there were and how many of them failed.

    Columns: id, label and probability of the most probable class, labels and probabilities of all that were named,
    error, and values of a head of numbers in the order of labels. Lists are joined by "|" in CSV.

    Raises:
        InputError: the suffix is none of .json, .csv and .parquet, or the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    writer = {".json": _json_writer, ".csv": _csv_writer, ".parquet": _parquet_writer}[path.suffix.lower()]
    count = failed = 0
    try:
        with replacing(path, or_into=True) as temporary, writer(temporary) as write:
            iterator = iter(predictions)
            while chunk := [p.row() for p in islice(iterator, _CHUNK)]:
                write(chunk)
                count += len(chunk)
                failed += sum(row["error"] is not None for row in chunk)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return count, failed


@contextmanager
def _parquet_writer(path: Path) -> Iterator[_Write]:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


@contextmanager
def _csv_writer(path: Path) -> Iterator[_Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(SCHEMA.names)

        def write(rows: list[dict[str, object]]) -> None:
            for row in rows:
                writer.writerow("|".join(map(str, v)) if isinstance(v, list) else v for v in row.values())

        yield write


@contextmanager
def _json_writer(path: Path) -> Iterator[_Write]:
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"

        def write(rows: list[dict[str, object]]) -> None:
            nonlocal separator
            for row in rows:
                file.write(separator + json.dumps(row))
                separator = ",\n"

        yield write
        file.write("\n]\n" if separator == ",\n" else "[]\n")
