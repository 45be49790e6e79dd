"""What is to be predicted of a store's rows: its own labels, or columns of a table that is joined by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.backbones.spec import LONGEST_NAME
from fxengine.errors import InputError, StoreError, at_least
from fxengine.features.blocks import store_rows
from fxengine.features.read import FeatureStore
from fxengine.heads import Kind
from fxengine.heads.evaluate.scores import Problem
from fxengine.probing.joined import all_known, join

_SINGLE = 100  # one row in so many may be of a class of its own
_LARGEST = 1e30  # of numbers to predict: heads are in float32, and errors are squared


@dataclass(frozen=True)
class Labelled:
    """A store's rows whose target is known, sorted by id.

    Attributes:
        rows: permanent row numbers, int64 [n].
        ids: n of them.
        problem: what is to be predicted; every row is a group of its own.
        splits: n of them, None where unknown.
        hashes: content hashes, n of them.
        notes: where they come from, and what is left out, a sentence each.
    """

    rows: np.ndarray
    ids: list[str]
    problem: Problem
    splits: list[str | None]
    hashes: list[str | None]
    notes: tuple[str, ...] = ()

    def take(self, rows: np.ndarray) -> Labelled:
        """Return fewer rows, by their places, int [rows]."""
        ids, splits, hashes = ([values[i] for i in rows] for values in (self.ids, self.splits, self.hashes))
        return Labelled(self.rows[rows], ids, self.problem.take(rows), splits, hashes, self.notes)


def load_targets(
    store: FeatureStore, labels: str | Path | None = None, kind: Kind | None = None, names: Sequence[str] | None = None
) -> Labelled:
    """Return the rows of a store whose target is known.

    Args:
        store: an open store.
        labels: None for the store's own labels; else `FILE`, `FILE:COLUMN` or `FILE:A,B,C` of a .csv, .tsv or .parquet
            with a column of ids (one of `fxengine.collect.table.ID_COLUMNS`, or the first one).
        kind: what to predict; unless given one column of text, whole numbers or truth values is classes, one with
            fractions is numbers, several columns of 0 and 1 are labels, others numbers.
        names: classes to number by, where they are known already (those of a training store).

    Raises:
        StoreError: no row has a target.
        InputError: the file cannot be read, has no such column, or its ids are not those of the store.
    """
    table, notes = store_rows(store), tuple[str, ...]()
    if labels is None:
        values = table["label"].combine_chunks()
        if values.null_count == len(values):
            of_table = "Extract again with its `label_column`, or give them with `labels`."
            of_folders = "Labels come from folders (photos/cats/, photos/dogs/), or give them with `labels`."
            way = of_table if store.provenance.read_columns else of_folders
            if store.provenance.of_words:
                way = "Words have none: give them with `labels`."
            raise StoreError(f"No row of {store.called} has a label. {way}")
        columns, without = {"label": values}, values.null_count
        if without:
            notes = (f"{store.called}: {without} of {len(values)} rows have no label.",)
    else:
        joined = join(str(labels), table["id"].combine_chunks(), store, as_text=kind == "classes")
        columns, notes = joined.columns, joined.notes
    known = all_known(columns)
    columns = {name: values.filter(pa.array(known)) for name, values in columns.items()}
    found_names, y, found_kind = _targets(columns, kind, names)
    longest = max(found_names, key=len)
    if len(longest) > LONGEST_NAME:
        raise InputError(
            f"{longest[:40]!r}... has {len(longest)} characters; names of classes and columns end at {LONGEST_NAME}."
        )
    table = table.filter(pa.array(known))
    problem = Problem(found_kind, found_names, y, np.arange(len(y)))
    hashes, splits = table["content_hash"].to_pylist(), table["split"].to_pylist()
    return Labelled(np.asarray(table["row"]), table["id"].to_pylist(), problem, splits, hashes, notes)


def _targets(
    columns: dict[str, pa.Array], kind: Kind | None, names: Sequence[str] | None
) -> tuple[tuple[str, ...], np.ndarray, Kind]:
    kind = kind or _kind_of(columns)
    if kind == "classes":
        if len(columns) > 1:
            raise InputError(f"Classes come from one column. Got {', '.join(columns)}.")
        (values,) = columns.values()
        text = _names(values)
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
    return (
        "labels"
        if all(np.isin(_numbers(name, column), (0, 1)).all() for name, column in columns.items())
        else "numbers"
    )


def _whole(values: pa.Array) -> bool:
    numbers = np.asarray(values)
    return bool(((np.abs(numbers) < 2**53) & (np.floor(numbers) == numbers)).all())


def _names(values: pa.Array) -> np.ndarray:
    """Return the names of classes, object [n]; whole numbers without ".0", as a column with a gap has them."""
    if pa.types.is_floating(values.type) and _whole(values):
        values = values.cast(pa.int64())
    return np.asarray(values.cast(pa.string()), object)


def _numbers(name: str, values: pa.Array) -> np.ndarray:
    """Return float64 [n]; text is read as numbers or truth values."""
    if pa.types.is_string(values.type):
        words = pc.replace_with_mask(values, pc.match_substring_regex(values, "^(?i:true)$"), "1")
        words = pc.replace_with_mask(words, pc.match_substring_regex(words, "^(?i:false)$"), "0")
        try:
            numbers = np.array([float(word) for word in words.to_pylist()])
        except ValueError as error:
            wrong = str(error).partition(": ")[2]
            raise InputError(f"The column {name!r} has values that are no numbers, such as {wrong}.") from error
    elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type):
        numbers = np.asarray(values.cast(pa.float64()))
    else:
        raise InputError(f"The column {name!r} has values that are no numbers, such as {values[0].as_py()!r}.")
    if not np.isfinite(numbers).all():
        raise InputError(f"The column {name!r} has values that are not finite.")
    if numbers.size and np.abs(numbers).max() > _LARGEST:
        raise InputError(f"The column {name!r} has values beyond {_LARGEST:g}, whose squares no head can add up.")
    return numbers


def without_single_rows(labelled: Labelled) -> Labelled:
    """Return the rows without classes of a single one, told in a note, where few rows are of such classes.

    No fold can hold one out and know its class. Where they are more than one row in a hundred, or fewer than two
    classes were left, nothing is left out: `check_enough` then says what is wrong.
    """
    problem = labelled.problem
    if problem.kind != "classes":
        return labelled
    counts = np.bincount(problem.y, minlength=len(problem.names))
    single, kept = np.flatnonzero(counts == 1), np.flatnonzero(counts != 1)
    if not len(single) or _SINGLE * len(single) > len(problem.y) or len(kept) < 2:
        return labelled
    number = np.full(len(counts), -1)
    number[kept] = np.arange(len(kept))
    found = labelled.take(np.flatnonzero(number[problem.y] >= 0))
    names = tuple(problem.names[i] for i in kept)
    named = ", ".join(repr(problem.names[i]) for i in single[:5]) + (", ..." if len(single) > 5 else "")
    note = f"Left out: {len(single)} of {len(counts)} classes, which have one row each ({named}); two are needed."
    left = replace(found.problem, names=names, y=number[found.problem.y])
    return replace(found, problem=left, notes=(*labelled.notes, note))


def check_enough(labelled: Labelled, store: FeatureStore, folds: int) -> int:
    """Return how many folds these rows allow, at most `folds`.

    Raises:
        StoreError: there is one class only, a class with one row, or fewer rows than folds.
        InputError: fewer than two folds are asked for.
    """
    problem = labelled.problem
    at_least("folds", folds, 2)
    if len(problem.y) < folds:
        raise StoreError(f"{store.called} has {len(problem.y)} rows with a target, fewer than {folds} folds.")
    if problem.kind != "classes":
        return folds
    counts = np.bincount(problem.y, minlength=len(problem.names))
    if len(problem.names) == 1:
        raise StoreError(
            f"All labelled rows of {store.called} are of one class ({problem.names[0]!r}): nothing to tell apart."
        )
    rarest = int(counts.argmin())
    if counts[rarest] < 2:
        name = problem.names[rarest]
        hint = " Whole numbers are classes unless `kind` says numbers." if name.isdigit() else ""
        raise StoreError(f"Class {name!r} has one row; cross-validation needs at least two of each class.{hint}")
    return min(folds, int(counts.max()))
