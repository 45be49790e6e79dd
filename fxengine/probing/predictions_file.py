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
from fxengine.files import replacing
from fxengine.probing.predict import Prediction

_CHUNK = 8192
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("labels", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float32())),
        ("error", pa.string()),
        ("values", pa.list_(pa.float32())),
    ]
)
_Write = Callable[[list[dict[str, object]]], None]


def write_predictions(predictions: Iterable[Prediction], path: Path) -> tuple[int, int]:
    """Write a row a picture; return how many there were and how many of them failed.

    Columns: id, label and probability of the most probable class, labels and probabilities of all that were named,
    error, and values of a head of numbers in the order of labels. Lists are joined by "|" in CSV.

    Raises:
        InputError: the suffix is none of .json, .csv and .parquet, or the file cannot be written.
    """
    writers = {".json": _json_writer, ".csv": _csv_writer, ".parquet": _parquet_writer}
    if path.suffix.lower() not in writers:
        raise InputError(f"-o {path} must end in {', '.join(writers)}.")
    count = failed = 0
    try:
        with replacing(path, or_into=True) as temporary, writers[path.suffix.lower()](temporary) as write:
            iterator = iter(predictions)
            while chunk := [_row(p) for p in islice(iterator, _CHUNK)]:
                write(chunk)
                count += len(chunk)
                failed += sum(row["error"] is not None for row in chunk)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return count, failed


def _row(prediction: Prediction) -> dict[str, object]:
    return {
        "id": prediction.id,
        "label": prediction.labels[0] if prediction.labels else None,
        "probability": prediction.probabilities[0] if prediction.probabilities else None,
        "labels": list(prediction.labels),
        "probabilities": list(prediction.probabilities),
        "error": prediction.error,
        "values": list(prediction.values),
    }


@contextmanager
def _parquet_writer(path: Path) -> Iterator[_Write]:
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))


@contextmanager
def _csv_writer(path: Path) -> Iterator[_Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_SCHEMA.names)

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
