"""Finds inputs that are in a store more than once: the same file or text, or nearly the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.collect.item import unescape_path
from fxengine.errors import above_zero, explained
from fxengine.features.table_file import check_suffix, write_table
from fxengine.features.texts import with_texts
from fxengine.neighbours.groups import choose_threshold, near_duplicate_groups, whiten
from fxengine.neighbours.index import Index

_TEXTS = 0.85  # least likeness of texts


@dataclass(frozen=True)
class DuplicatesReport:
    """What is in a store more than once.

    Attributes:
        table: a row for every input that is not alone, by group, the largest group first. Columns: group; id; keep,
            one of each group, the most pixels, then the most bytes; identical, another of the group is the very same
            file or text; same_as, the first one of these, null for itself; likeness, cosine of the whitened vectors to
            the one to keep; label, split, width, height, size;
            crosses_labels and crosses_splits, the group holds more than one.
        root: folder that ids are relative to.
        threshold: likeness from which two inputs are linked.
        chosen: whether the threshold was chosen from the store's own distribution.
        rows: rows that were compared.
        store: folder of the store.
    """

    table: pa.Table
    root: str
    threshold: float
    chosen: bool
    rows: int
    store: str = ""

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(pc.sum(self.table["keep"]).as_py() or 0)

    def crossing(self, what: str) -> int:
        """Return how many groups hold more than one label or split; `what` is "labels" or "splits"."""
        both = pc.and_(self.table["keep"], self.table[f"crosses_{what}"])
        return int(pc.sum(both).as_py() or 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data; of a store of texts with the beginning of each row's `text`, read now."""
        return {
            "root": self.root,
            "rows": self.rows,
            "threshold": self.threshold,
            "chosen": self.chosen,
            "groups": self.groups,
            "redundant": len(self.table) - self.groups,
            "crossing_labels": self.crossing("labels"),
            "crossing_splits": self.crossing("splits"),
            "table": with_texts(self.table.to_pylist(), self.store),
        }


def duplicates(
    store: str | Path,
    *,
    threshold: float | None = None,
    output: str | Path | None = None,
    layer: str | None = None,
) -> DuplicatesReport:
    """Return the groups of identical and nearly identical inputs.

    Short texts of one kind lie nearer to each other than pictures do: among 3,000 sentences of reviews, of the pairs
    from the likeness that is chosen for pictures (0.64) a quarter are copies with other letters or signs, and "will
    definitely be back!" is linked with "Will not be back!"; from 0.85 it is 83%, and 82% to 90% of planted copies that
    lack their signs or a word or have one more are found. So for texts it is never chosen below that.

    Args:
        store: folder of a feature store.
        threshold: likeness (cosine of whitened vectors) from which two inputs are linked; chosen from the store's
            distribution unless given, for texts at least 0.85; 1 links equal files or texts only.
        output: a .parquet, .csv or .json file to write the table to.
        layer: a further layer's name; the default one unless given.

    Raises:
        InputError: the threshold is not above 0 and at most 1, or `output` cannot be written.
        StoreError: the store has no vector or no such layer.
    """
    if threshold is not None:
        above_zero("threshold", threshold, 1)
    if output is not None:
        check_suffix(output)
    index = Index.exact(store, layer=layer)
    with explained(f"{store} cannot be looked through for duplicates", "Free memory."):
        whitened = whiten(index.matrix)
        used = _chosen(whitened, index.store.provenance.modality) if threshold is None else threshold
        groups = near_duplicate_groups(whitened, index.table["content_hash"].to_pylist(), used, index.matrix)
        table = _table(index.table, groups, whitened)
    if output is not None:
        write_table(table, output)
    root = unescape_path(index.store.provenance.root)
    return DuplicatesReport(table, root, used, threshold is None, len(index), str(store))


def _chosen(whitened: np.ndarray, modality: str) -> float:
    chosen = choose_threshold(whitened)
    return max(chosen, _TEXTS) if modality == "text" else chosen


def _table(rows: pa.Table, groups: np.ndarray, whitened: np.ndarray) -> pa.Table:
    counts = np.bincount(groups)
    members = np.flatnonzero(counts[groups] > 1)
    rows, groups = rows.take(pa.array(members)), groups[members]
    pixels = np.asarray(pc.fill_null(pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64())), 0))
    order = np.lexsort((np.arange(len(groups)), -np.asarray(rows["size"]), -pixels, groups, -counts[groups]))
    rows, groups, members = rows.take(pa.array(order)), groups[order], members[order]
    keep = np.ones(len(groups), bool)
    keep[1:] = groups[1:] != groups[:-1]
    number = np.cumsum(keep) - 1
    kept = whitened[members[keep]][number].astype(np.float32)
    columns = {
        "group": pa.array(number),
        "id": rows["id"],
        "keep": pa.array(keep),
        "identical": pa.array(_shared(rows["content_hash"])),
        "same_as": rows["id"].take(_first_same(rows["content_hash"])),
        "likeness": pa.array(np.einsum("ij,ij->i", kept, whitened[members].astype(np.float32)).astype(np.float32)),
        **{name: rows[name] for name in ("label", "split", "width", "height", "size")},
        "crosses_labels": pa.array(_crosses(number, rows["label"])),
        "crosses_splits": pa.array(_crosses(number, rows["split"])),
    }
    return pa.table(columns)


def _shared(hashes: pa.ChunkedArray) -> np.ndarray:
    """Return which rows have a content hash that another row has, too; equal files are always in one group."""
    _, inverse, counts = np.unique(hashes.to_numpy(zero_copy_only=False), return_inverse=True, return_counts=True)
    shared: np.ndarray = counts[inverse] > 1
    return shared


def _first_same(hashes: pa.ChunkedArray) -> pa.Array:
    """Return of each row the first one with its content hash, null where that is itself."""
    _, first, inverse = np.unique(hashes.to_numpy(zero_copy_only=False), return_index=True, return_inverse=True)
    found = first[inverse]
    return pa.array(found, mask=found == np.arange(len(found)))


def in_words(row: dict[str, Any], what: str = "file") -> str:
    """Return what a row of the table is in its group; `what` is what rows are made from, "file" or "text"."""
    if row["keep"]:
        return "keep"
    return f"likeness {row['likeness']:.3f}" if row["same_as"] is None else f"same {what} as {row['same_as']}"


def _crosses(groups: np.ndarray, names: pa.ChunkedArray) -> np.ndarray:
    """Return which rows are in a group that holds more than one name; an unknown one counts for none."""
    known = np.asarray(pc.is_valid(names))
    codes = np.unique(np.asarray(pc.fill_null(names, "")).astype(str), return_inverse=True)[1]
    pairs = np.unique(np.stack([groups[known], codes[known]]), axis=1)
    many = np.bincount(pairs[0], minlength=int(groups.max(initial=0)) + 1) > 1
    crossing: np.ndarray = many[groups]
    return crossing
