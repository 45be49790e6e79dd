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
from fxengine.probing.prediction import SCHEMA, SPANS_SCHEMA, Counts, Prediction

_CHUNK = 8192
_Write = Callable[[list[dict[str, object]]], None]


def write_predictions(predictions: Iterable[Prediction], path: str | Path, *, spans: bool = False) -> Counts:
    """Write a row an input, or a row a span; return how many there were.

    Columns: id, label and probability of the most probable class, labels and probabilities of all that were named,
    error, and values of a head of numbers in the order of labels. Lists are joined by "|" in CSV. Of spans: id, start,
    end, text, label, score, and error, with a row for each text that failed.

    Raises:
        InputError: the suffix is none of .json, .csv and .parquet, or the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    writer = {".json": _json_writer, ".csv": _csv_writer, ".parquet": _parquet_writer}[path.suffix.lower()]
    schema, counts = SPANS_SCHEMA if spans else SCHEMA, Counts()
    try:
        with replacing(path, or_into=True) as temporary, writer(temporary, schema) as write:
            iterator = iter(predictions)
            while chunk := list(islice(iterator, _CHUNK)):
                write([row for each in chunk for row in (each.span_rows() if spans else [each.row()])])
                counts = counts.plus(chunk)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return counts


@contextmanager
def _parquet_writer(path: Path, schema: pa.Schema) -> Iterator[_Write]:
    with pq.ParquetWriter(path, schema) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, schema))


@contextmanager
def _csv_writer(path: Path, schema: pa.Schema) -> Iterator[_Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(schema.names)

        def write(rows: list[dict[str, object]]) -> None:
            for row in rows:
                writer.writerow("|".join(map(str, v)) if isinstance(v, list) else v for v in row.values())

        yield write


@contextmanager
def _json_writer(path: Path, schema: pa.Schema) -> Iterator[_Write]:
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"

        def write(rows: list[dict[str, object]]) -> None:
            nonlocal separator
            for row in rows:
                file.write(separator + json.dumps(row))
                separator = ",\n"

        yield write
        file.write("\n]\n" if separator == ",\n" else "[]\n")
