"""What is to be predicted of a store's rows: its own labels, or columns of a table that is joined by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from fxengine.errors import InputError, StoreError
from fxengine.features.read import FeatureStore
from fxengine.heads import Kind
from fxengine.heads.evaluate import Problem
from fxengine.tasks.blocks import store_rows

# Columns of a table of labels that can hold the ids; else it is the first one.
_ID_COLUMNS = ("id", "path", "file", "filename")


@dataclass(frozen=True)
class Labelled:
    """A store's rows whose target is known, sorted by id.

    Attributes:
        rows: permanent row numbers, int64 [n].
        ids: n of them.
        problem: what is to be predicted; every row is a group of its own.
        splits: n of them, None where unknown.
        hashes: content hashes, n of them.
    """

    rows: np.ndarray
    ids: list[str]
    problem: Problem
    splits: list[str | None]
    hashes: list[str | None]

    def take(self, rows: np.ndarray) -> Labelled:
        """Return fewer rows."""
        ids, splits, hashes = ([values[i] for i in rows] for values in (self.ids, self.splits, self.hashes))
        return Labelled(self.rows[rows], ids, self.problem.take(rows), splits, hashes)


def load_targets(
    store: FeatureStore, labels: str | Path | None = None, kind: Kind | None = None, names: Sequence[str] | None = None
) -> Labelled:
    """Return the rows of a store whose target is known.

    Args:
        store: an open store.
        labels: None for the store's own labels; else `FILE`, `FILE:COLUMN` or `FILE:A,B,C` of a .csv or .parquet
            with a column of ids ("id", "path", "file", "filename" or the first one).
        kind: what to predict; unless given one column of text, whole numbers or truth values is classes, one with
            fractions is numbers, several columns of 0 and 1 are labels, others numbers.
        names: classes to number by, where they are known already (those of a training store).

    Raises:
        StoreError: no row has a target.
        InputError: the file cannot be read, has no such column, or its ids are not those of the store.
    """
    table = store_rows(store)
    if labels is None:
        values = table["label"].combine_chunks()
        if values.null_count == len(values):
            raise StoreError(
                f"No row of {store.path} has a label. Labels come from folders (photos/cats/, photos/dogs/), or give "
                "them with --labels FILE."
            )
        columns = {"label": values}
    else:
        columns = _joined(str(labels), table["id"].combine_chunks(), store)
    known = np.logical_and.reduce([np.asarray(values.is_valid()) for values in columns.values()])
    columns = {name: values.filter(pa.array(known)) for name, values in columns.items()}
    found_names, y, found_kind = _targets(columns, kind, names)
    table = table.filter(pa.array(known))
    problem = Problem(found_kind, found_names, y, np.arange(len(y)))
    hashes, splits = table["content_hash"].to_pylist(), table["split"].to_pylist()
    return Labelled(np.asarray(table["row"]), table["id"].to_pylist(), problem, splits, hashes)


def _joined(labels: str, ids: pa.Array, store: FeatureStore) -> dict[str, pa.Array]:
    """Return column -> values in the order of `ids`, null where the file has no such id."""
    path, wanted = Path(labels), ""
    if not path.exists() and ":" in labels:
        file, _, wanted = labels.rpartition(":")
        path = Path(file)
    table = _read(path)
    key = next((name for name in _ID_COLUMNS if name in table.column_names), table.column_names[0])
    there = [name for name in table.column_names if name != key]
    chosen = [name.strip() for name in wanted.split(",") if name.strip()] or (
        ["label"] if "label" in there else there[:1]
    )
    for name in chosen:
        if name not in there:
            raise InputError(f"{path} has no column {name!r}. There is: {', '.join(there) or 'none but the ids'}.")
    if not chosen:
        raise InputError(f"{path} has no column but {key!r}: one with labels is needed.")
    keys = table[key].cast(pa.string()).combine_chunks()
    if pc.count_distinct(keys).as_py() < len(keys):
        twice = pc.value_counts(keys).to_pylist()
        name = next(entry["values"] for entry in twice if entry["counts"] > 1)
        raise InputError(f"{path} has the {key} {name!r} more than once.")
    at = pc.index_in(ids, keys)
    if at.null_count == len(at):
        raise InputError(
            f"No {key} of {path} is an id of {store.path}. It has {keys[0].as_py()!r}, "
            f"the store has {ids[0].as_py()!r}."
        )
    return {name: table[name].combine_chunks().take(at) for name in chosen}


def _read(path: Path) -> pa.Table:
    readers = {".csv": pa.csv.read_csv, ".parquet": pq.read_table}
    if path.suffix.lower() not in readers:
        raise InputError(f"--labels {path} must be a .csv or .parquet file, or FILE:COLUMN.")
    try:
        table = readers[path.suffix.lower()](str(path))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"Cannot read {path}: {str(error).splitlines()[0]}.") from error
    if not table.num_rows:
        raise InputError(f"{path} has no rows.")
    return table


def _targets(
    columns: dict[str, pa.Array], kind: Kind | None, names: Sequence[str] | None
) -> tuple[tuple[str, ...], np.ndarray, Kind]:
    kind = kind or _kind_of(columns)
    if kind == "classes":
        if len(columns) > 1:
            raise InputError(f"Classes come from one column. Got {', '.join(columns)}.")
        (values,) = columns.values()
        text = np.asarray(values.cast(pa.string()), object)
        classes = sorted(set(text)) if names is None else list(names)
        number = {name: i for i, name in enumerate(classes)}
        unknown = sorted(set(text) - set(number))
        if unknown:
            raise StoreError(f"The class {unknown[0]!r} is not one that was trained on ({', '.join(classes[:10])}).")
        return tuple(classes), np.array([number[name] for name in text], np.int64), kind
    matrix = np.stack([_numbers(name, values) for name, values in columns.items()], axis=1)
    if kind == "labels":
        if not np.isin(matrix, (0, 1)).all():
            raise InputError("Labels are columns of 0 and 1; something else stands in them.")
        return tuple(columns), matrix.astype(np.int64), kind
    return tuple(columns), matrix, kind


def _kind_of(columns: dict[str, pa.Array]) -> Kind:
    values = list(columns.values())
    if len(values) == 1:
        return "numbers" if pa.types.is_floating(values[0].type) else "classes"
    binary = all(
        pa.types.is_boolean(v.type) or (_is_number(v.type) and pc.all(pc.is_in(v, pa.array([0, 1], v.type))).as_py())
        for v in values
    )
    return "labels" if binary else "numbers"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _numbers(name: str, values: pa.Array) -> np.ndarray:
    if not (_is_number(values.type) or pa.types.is_boolean(values.type)):
        raise InputError(f"The column {name!r} has values that are no numbers, such as {values[0].as_py()!r}.")
    numbers = np.asarray(values.cast(pa.float64()))
    if not np.isfinite(numbers).all():
        raise InputError(f"The column {name!r} has values that are not finite.")
    return numbers


def check_enough(labelled: Labelled, store: FeatureStore, folds: int) -> int:
    """Return how many folds these rows allow, at most `folds`.

    Raises:
        StoreError: there is one class only, a class with one row, or fewer rows than folds.
        InputError: fewer than two folds are asked for.
    """
    problem = labelled.problem
    if folds < 2:
        raise InputError(f"--folds must be at least 2. Got {folds}.")
    if len(problem.y) < folds:
        raise StoreError(f"{store.path} has {len(problem.y)} rows with a target, fewer than {folds} folds (--folds).")
    if problem.kind != "classes":
        return folds
    counts = np.bincount(problem.y, minlength=len(problem.names))
    if len(problem.names) == 1:
        raise StoreError(
            f"All labelled rows of {store.path} are of one class ({problem.names[0]!r}): nothing to tell apart."
        )
    rarest = int(counts.argmin())
    if counts[rarest] < 2:
        raise StoreError(
            f"Class {problem.names[rarest]!r} has one row; cross-validation needs at least two of each class."
        )
    return min(folds, int(counts.max()))
