"""Joins a table of labels with the rows of a store by id, and says what fits and what does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.collect.item import unescape_path
from fxengine.collect.paths import plain_path
from fxengine.collect.table import TABLES, column_of, id_columns, read_table
from fxengine.errors import InputError, StoreError
from fxengine.features.read import FeatureStore

# What stands for a missing value in a text: the marks of pandas.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"
# A path that may be written otherwise, too: it holds more than plain letters and signs, or a folder that says nothing.
_ODD = r"[^!-~]|\\|//|/$|^/|(^|/)\.\.?(/|$)"


@dataclass(frozen=True)
class Joined:
    """Columns of a table in the order of a store's rows.

    Attributes:
        columns: name -> values, null where a row has none. Text, but for what a .parquet holds as numbers or truth
            values, and float64 for a column of a .csv in which fractions stand.
        notes: how much fits, and what had to be guessed, a sentence each.
    """

    columns: dict[str, pa.Array]
    notes: tuple[str, ...]


def join(labels: str, ids: pa.Array, store: FeatureStore, *, as_text: bool = False) -> Joined:
    """Return the wanted columns of a file for these ids.

    Args:
        labels: `FILE`, `FILE:COLUMN` or `FILE:A,B,C` of a .csv, .tsv or .parquet. Unless given the column is "label",
            or the first one that does not hold ids.
        ids: of a store's rows, in any order.
        store: the store, for sentences and its root.
        as_text: whether fractions in a .csv stay text.

    Raises:
        InputError: the file cannot be read, has no such column or two of its name, no label, an id twice, or no id of
            the store.
        StoreError: no row of the store has a vector.
    """
    if not len(ids):
        raise StoreError(f"No row of {store.called} has a vector: `fxengine info {store.called}` says why.")
    path, wanted = _file_and_columns(labels)
    root = unescape_path(store.provenance.root)
    table, notes = read_table(path, is_id=lambda cell: bool((match(ids, pa.array([cell]), root, "")[0] >= 0).any()))
    if not table.num_rows:
        raise InputError(f"{path} has no rows.")
    chosen, keys, left = _choose(path, table.column_names, wanted)
    if left:
        notes.append(
            f"Of the columns of {path} {chosen[0]!r} alone was taken, not {', '.join(map(repr, left[:10]))}: "
            f"{path.name}:{chosen[0]},{left[0]} takes several."
        )
    columns = _labels_in(path, table, chosen, as_text)
    found = []
    for name in keys:
        named = column_of(table, name, str(path)).cast(pa.string())
        found.append((*match(ids, named, root, f"{path} has the {name}"), named))
        if (found[-1][0] >= 0).all():
            break
    place, bare, named = max(found, key=lambda match: int((match[0] >= 0).sum()))
    if not (place >= 0).any():
        raise _nothing_fits(path, keys[0], table, ids, store)
    at = pa.array(place, mask=place < 0)
    joined = {name: values.take(at) for name, values in columns.items()}
    counts = _counts(all_known(columns), all_known(joined), place, named)
    if bare:
        notes.append(f"{bare} ids of {path} were matched without the suffix of the file's name.")
    return Joined(joined, (f"{path} and {store.called}: {counts}", *notes))


def _file_and_columns(labels: str) -> tuple[Path, str]:
    path, wanted = Path(labels), ""
    if not path.exists() and ":" in labels:
        file, _, wanted = labels.rpartition(":")
        path = Path(file)
    if path.suffix.lower() not in TABLES:
        raise InputError(f"`labels` {path} must be a .csv, .tsv or .parquet file, or FILE:COLUMN.")
    return path, wanted


def _choose(path: Path, names: list[str], wanted: str) -> tuple[list[str], list[str], list[str]]:
    """Return the columns of labels, those that may hold the ids, and those that might have been meant, too."""
    asked = [wanted] if wanted in names else wanted.split(",")
    chosen = [name.strip() for name in asked if name.strip()]
    keys = [name for name in id_columns(names) if name not in chosen]
    # A column without a name is the numbers of the rows, as pandas writes them.
    others = [name for name in names if name not in chosen and name.lower() not in ("", "label")]
    keys = keys or others[:1] or names[:1]
    there = [name for name in names if name not in keys[:1]]
    for name in chosen:
        if name not in there:
            raise InputError(f"{path} has no column {name!r}. There is: {', '.join(there) or 'none but the ids'}.")
    chosen = chosen or [name for name in there if name.lower() == "label"][:1]
    meant = [] if chosen else [name for name in there if name and name not in keys]
    chosen = chosen or meant[:1] or there[:1]
    if not chosen:
        raise InputError(f"{path} has no column but {', '.join(map(repr, names))}: one with labels is needed.")
    return chosen, keys, meant[1:]


def _labels_in(path: Path, table: pa.Table, chosen: list[str], as_text: bool) -> dict[str, pa.Array]:
    columns = {name: column_of(table, name, str(path)) for name in chosen}
    if path.suffix.lower() == ".parquet":
        columns = {name: _known(values, ("",)) for name, values in columns.items()}
    else:
        columns = {name: _typed(_known(values, MISSING), as_text) for name, values in columns.items()}
    if not all_known(columns).any():
        raise InputError(f"{path} has no label: every cell of {', '.join(map(repr, chosen))} is empty.")
    return columns


def _counts(labelled: np.ndarray, known: np.ndarray, place: np.ndarray, keys: pa.Array) -> str:
    """Return how many labels and how many rows are left over, in words.

    Args:
        labelled: which lines of the table have a label, bool [lines].
        known: which rows of the store got one, bool [rows].
        place: the line of each row, -1 where there is none, int64 [rows].
        keys: ids of the lines.
    """
    unknown = np.flatnonzero(labelled & ~np.isin(np.arange(len(keys)), place))
    such = f", such as {keys[int(unknown[0])].as_py()!r}" if len(unknown) else ""
    return (
        f"{len(unknown)} of {labelled.sum()} labels match no row{such}; "
        f"{(~known).sum()} of {len(known)} rows have no label."
    )


def _known(values: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Return values with null for NaN and for text in `missing`; other text without spaces around it.

    Whole numbers with gaps are text without ".0": what had whole numbers becomes so by its gaps, in pandas.
    """
    if pa.types.is_decimal(values.type) or pa.types.is_floating(values.type):
        numbers = values.cast(pa.float64())
        numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
        return numbers.cast(pa.int64()).cast(pa.string()) if numbers.null_count and _whole(numbers) else numbers
    if not pa.types.is_string(values.type):
        return values
    text = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(text, pa.array(missing)), pa.scalar(None, pa.string()), text)


def _typed(values: pa.Array, as_text: bool) -> pa.Array:
    """Return text as float64 where it is numbers and one has a point; but whole numbers with gaps as in `_known`."""
    if not pc.all(pc.match_substring_regex(values, _NUMBER), min_count=1).as_py():
        return values
    numbers = pa.array([None if value is None else float(value) for value in values.to_pylist()], pa.float64())
    pointed = pc.any(pc.match_substring_regex(values, "[^0-9+-]")).as_py()
    if not pointed or (values.null_count and _whole(numbers)):
        return pc.replace_substring_regex(values, r"(\d)\.0*$", r"\1")
    return values if as_text else numbers


def _whole(values: pa.Array) -> bool:
    """Tell whether all numbers are whole, and exact as such."""
    numbers = np.asarray(values.drop_null())
    return bool(((np.abs(numbers) < 2**53) & (np.floor(numbers) == numbers)).all())


def all_known(columns: dict[str, pa.Array]) -> np.ndarray:
    """Return bool [n]: whether every column has a value."""
    return np.asarray(np.all([np.asarray(values.is_valid()) for values in columns.values()], axis=0))


def _nothing_fits(path: Path, key: str, table: pa.Table, ids: pa.Array, store: FeatureStore) -> InputError:
    return InputError(
        f"No {key} of {path} is an id of {store.called}. It has {str(table[key][0].as_py())!r}, the store has "
        f"{ids[0].as_py()!r}."
    )


def match(ids: pa.Array, keys: pa.Array, root: str, called: str) -> tuple[np.ndarray, int]:
    """Return which key each id is meant by, int64 [ids], -1 where by none; and how many only without a suffix.

    First exactly, then what is left in any spelling (see `plain_path`) or as a path below the root, then by what stands
    before the suffix of the file. What would fit several ids fits none.

    Args:
        ids: of a store, each once.
        keys: ids as a table has them, null or empty where it has none.
        root: folder that ids are relative to.
        called: the keys in sentences.

    Raises:
        InputError: two keys are the same, or mean the same id.
    """
    place, bare = np.full(len(ids), -1), 0
    left = np.flatnonzero(np.asarray(pc.not_equal(keys, "").fill_null(False)))
    for of_ids, of_keys in ((_same, _same), (_plain_ids, _plain_keys), (_stems, _plain_keys)):
        there, wanted = of_ids(ids, root), of_keys(keys.take(pa.array(left)), root)
        row = pc.index_in(wanted, _once(there)).fill_null(-1).to_numpy(zero_copy_only=False)
        fits = np.flatnonzero(row >= 0)
        rows = row[fits]
        twice = np.flatnonzero((place[rows] >= 0) | (np.bincount(rows, minlength=len(ids))[rows] > 1))
        if len(twice):
            key, other = ids[int(rows[twice[-1]])].as_py(), keys[int(left[fits[twice[-1]]])].as_py()
            raise InputError(f"{called} {key!r} more than once{'' if key == other else f', here as {other!r}'}.")
        place[rows] = left[fits]
        bare = len(fits) if of_ids is _stems else 0
        left = left[row < 0]
        if not len(left):
            break
    return place, bare


def _once(values: pa.Array) -> pa.Array:
    """Return the values with null for those that occur more than once."""
    counts = pc.value_counts(values)
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    return pc.if_else(pc.is_in(values, several), pa.scalar(None, pa.string()), values) if len(several) else values


def _same(paths: pa.Array, root: str) -> pa.Array:
    return paths


def _plain_ids(ids: pa.Array, root: str) -> pa.Array:
    return _where_odd(ids, lambda key: plain_path(unescape_path(key)))


def _plain_keys(keys: pa.Array, root: str) -> pa.Array:
    below = plain_path(root) + "/"
    return _where_odd(keys, lambda key: plain_path(key).removeprefix(below))


def _stems(ids: pa.Array, root: str) -> pa.Array:
    return pc.replace_substring_regex(_plain_ids(ids, root), r"\.[^./]*$", "")


def _where_odd(paths: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """Return the paths with those changed that may be written otherwise, too."""
    odd = pc.match_substring_regex(paths, _ODD)
    changed = [change(path) for path in paths.filter(odd).to_pylist()]
    return pc.replace_with_mask(paths, odd, pa.array(changed, pa.string()))
