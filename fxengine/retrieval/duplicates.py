"""Finds inputs that are in a store more than once: vectors say what may be the same, pixels and words what is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.collect.item import unescape_path
from fxengine.errors import above_zero, explained
from fxengine.features.blocks import Say
from fxengine.features.table_file import check_suffix, write_table
from fxengine.features.texts import with_texts
from fxengine.neighbours.groups import choose_threshold, whiten
from fxengine.neighbours.index import Index
from fxengine.retrieval.duplicates_table import make_table
from fxengine.retrieval.judged import judge_rows
from fxengine.retrieval.kinds import IDENTICAL, KINDS, REDUNDANT
from fxengine.trust import name_pictures

_TEXTS = 0.85  # least likeness of texts that are alike


@dataclass(frozen=True)
class DuplicatesReport:
    """What is in a store more than once.

    Attributes:
        table: a row for every input that is not alone, by group, the largest group first. Columns: group; id; keep,
            false for what is more than needed: what is `identical` to a row that is kept, the `same picture` or the
            `same text`; identical, another of the group is the very same file or text; same_as, the first one of
            these, null for itself; likeness, cosine of the whitened vectors to the row `of`; label, split, width,
            height, size; crosses_labels and crosses_splits, the group holds more than one; kind, one of
            `fxengine.retrieval.kinds.KINDS`, null for the first of a group; of, the id of the kept row that it was
            compared with; transform, how it differs from that one; score, how much both agree by their pixels or
            words, 0 to 1; kept_for, why a row with copies is the one to keep; across_splits, copies of one picture
            or text are in several splits.
        root: folder that ids are relative to.
        threshold: likeness from which two inputs that are not the same are in one group.
        chosen: whether the threshold was chosen from the store's own distribution.
        rows: rows that were compared.
        store: folder of the store.
        hidden: whether pictures were not compared since this user neither extracted from their folder nor named it.
    """

    table: pa.Table
    root: str
    threshold: float
    chosen: bool
    rows: int
    store: str = ""
    hidden: bool = False

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(pc.unique(self.table["group"]))

    @property
    def kinds(self) -> dict[str, int]:
        """How many rows are of each kind, of those that there are."""
        counts = Counter(self.table["kind"].to_pylist())
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    @property
    def redundant(self) -> int:
        """How many rows are more than needed: identical to one that is kept, the same picture, or the same text."""
        return sum(count for kind, count in self.kinds.items() if kind in REDUNDANT)

    def crossing(self, what: str) -> int:
        """Return how many groups hold more than one label or split; `what` is "labels" or "splits"."""
        return len(pc.unique(self.table.filter(self.table[f"crosses_{what}"])["group"]))

    @property
    def across_splits(self) -> int:
        """How many pictures or texts have copies in several splits."""
        return int(pc.sum(pc.and_(self.table["keep"], self.table["across_splits"])).as_py() or 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data; of a store of texts with the beginning of each row's `text`, read now."""
        return {
            "root": self.root,
            "rows": self.rows,
            "threshold": self.threshold,
            "chosen": self.chosen,
            "groups": self.groups,
            "redundant": self.redundant,
            "kinds": self.kinds,
            "crossing_labels": self.crossing("labels"),
            "crossing_splits": self.crossing("splits"),
            "across_splits": self.across_splits,
            "table": with_texts(self.table.to_pylist(), self.store),
        }


def duplicates(
    store: str | Path,
    *,
    threshold: float | None = None,
    across_splits: bool = False,
    output: str | Path | None = None,
    layer: str | None = None,
    pictures: str | Path | None = None,
    progress: Say | None = None,
) -> DuplicatesReport:
    """Return the groups of what is identical, the same picture or text, or alike.

    Vectors say which rows may be the same; whether they are, the files say: pictures are laid over each other and
    compared pixel by pixel, texts by their words. Where a file is gone or another one now, rows are `unverified`.
    No row is more than needed but for a kept one that it was itself compared with.

    Args:
        store: folder of a feature store.
        threshold: likeness (cosine of whitened vectors) from which two inputs that are not the same are grouped, and
            two that may be are compared; chosen from the store's distribution unless given, for texts at least 0.85,
            and then less is asked of those that are compared; 1 finds equal files or texts only.
        across_splits: put first what has copies in several splits.
        output: a .parquet, .csv or .json file to write the table to.
        layer: a further layer's name; the default one unless given.
        pictures: a folder whose pictures may be read, from now on, where the store is not your own.
        progress: called with a sentence every few seconds.

    Raises:
        InputError: the threshold is not above 0 and at most 1, `output` cannot be written, or there is no folder
            `pictures`.
        StoreError: the store has no vector or no such layer.
    """
    if threshold is not None:
        above_zero("threshold", threshold, 1)
    if output is not None:
        check_suffix(output)
    if pictures is not None:
        name_pictures(pictures)
    index = Index.exact(store, layer=layer)
    index.copy(progress)
    with explained(f"{store} cannot be looked through for duplicates", "Free memory."):
        whitened = whiten(index.matrix, progress)
        used = _chosen(whitened, index.store.provenance.modality, progress) if threshold is None else threshold
        judged = judge_rows(index, whitened, used, threshold is None, progress)
        table = make_table(index.table, judged, whitened, across_splits)
    if output is not None:
        write_table(table, output)
    root = unescape_path(index.store.provenance.root)
    return DuplicatesReport(table, root, used, threshold is None, len(index), str(store), judged.hidden)


def _chosen(whitened: np.ndarray, modality: str, progress: Say | None) -> float:
    chosen = choose_threshold(whitened, progress)
    return max(chosen, _TEXTS) if modality == "text" else chosen


def in_words(row: dict[str, Any], what: str = "file") -> str:
    """Return what a row of the table is in its group; `what` is what rows are made from, "file" or "text"."""
    if row["kind"] is None:
        return f"keep: {row['kept_for']}" if row["kept_for"] else "keep"
    if row["kind"] == IDENTICAL:
        return f"same {what} as {row['same_as'] or row['of']}"
    said = ", ".join(filter(None, (row["kind"], row["transform"])))
    return said if row["kind"] in REDUNDANT else f"{said}, likeness {row['likeness']:.3f}"
