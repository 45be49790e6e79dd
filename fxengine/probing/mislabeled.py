"""Ranks rows by how likely their label is wrong, from the answers of heads that were not trained on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fxengine.collect.item import unescape_path
from fxengine.errors import InputError, at_least, check_seed, one_of
from fxengine.features.blocks import Say
from fxengine.features.read import FeatureStore
from fxengine.features.table_file import check_suffix, write_table
from fxengine.features.texts import with_texts
from fxengine.heads import HEADS, HeadSettings
from fxengine.heads.evaluate.answers import Answers, likeliest, of_own, put, room_for, top_of
from fxengine.heads.evaluate.scores import assign_folds
from fxengine.probing.given_head import answers_in_blocks, numbers_in, open_given
from fxengine.probing.targets import check_enough, load_targets, without_single_rows
from fxengine.probing.trainer import Trainer
from fxengine.probing.vectors import NEAR, Vectors, load_vectors


@dataclass(frozen=True)
class Suspect:
    """A row whose label may be wrong.

    Attributes:
        id: the row's id.
        label: what it is called.
        suggestion: the class that was answered.
        probability: of the suggestion.
        own_probability: of its label.
        issue: whether it counts as wrong, or is only the next in the ranking.
    """

    id: str
    label: str
    suggestion: str
    probability: float
    own_probability: float
    issue: bool


@dataclass(frozen=True)
class Suspects:
    """All rows whose answer is not their label, the most suspicious first.

    Attributes:
        rows: the ranking.
        checked: how many rows were looked at.
        head: that answered.
        store: folder of the store.
        root: folder that ids are relative to.
        notes: how many labels of a file fit, and what was left out, a sentence each.
        model: the file of the head that answered, or None where heads of the other folds did.
    """

    rows: list[Suspect]
    checked: int
    head: str
    store: str
    root: str
    notes: tuple[str, ...] = ()
    model: str | None = None

    @property
    def issues(self) -> int:
        """How many rows count as wrong."""
        return sum(row.issue for row in self.rows)

    def in_words(self) -> str:
        """Return what was found, of which the ranking has all."""
        more = len(self.rows) - self.issues
        return f"{self.issues} of {self.checked} labels are likely wrong, {more} more differ from the answer"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data; of a store of texts with the beginning of each row's `text`, read now."""
        return {
            "checked": self.checked,
            "issues": self.issues,
            "head": self.head,
            "store": self.store,
            "root": self.root,
            "notes": self.notes,
            "model": self.model,
            "rows": with_texts([asdict(r) for r in self.rows], self.store),
        }

    @property
    def table(self) -> pa.Table:
        """The ranking, a row a suspect."""
        names = ("id", "label", "suggestion", "probability", "own_probability", "issue")
        return pa.table({name: [getattr(row, name) for row in self.rows] for name in names})


def mislabeled(
    store: str | Path,
    *,
    labels: str | Path | None = None,
    head: str | None = None,
    model: str | Path | None = None,
    folds: int = 10,
    seed: int = 0,
    output: str | Path | None = None,
    layer: str | None = None,
    progress: Say | None = None,
) -> Suspects:
    """Return the rows whose labels are likely wrong.

    Rows are ranked by the out-of-fold probability of their own label, the smallest first (cleanlab's
    "self_confidence"; of its rankings and the margin over the suggestion it found the most planted errors). A row
    counts as wrong by confident learning's rule (Northcutt, Jiang and Chuang 2021, JAIR 70, arXiv 1911.00068): the
    probability of another class reaches the mean that this class's own rows give it, and it is the greatest to do so.

    Args:
        store: folder of a feature store.
        labels: as for a probe; classes only.
        head: as for a probe, without "auto".
        model: instead of a cross-validation, the file of a head that was not trained on these rows, as a zero-shot one.
        folds: of the cross-validation.
        seed: of the folds.
        output: a .parquet, .csv or .json file to write the ranking to.
        layer: a further layer's name; the default one unless given.
        progress: called with a sentence every few seconds, where vectors do not fit into memory.

    Raises:
        InputError: the targets are not classes, `model` was trained on the store, or `output` cannot be written.
        StoreError: as for a probe; `model` is of another space, or does not know a class.
    """
    if output is not None:
        check_suffix(output)
    at_least("folds", folds, 2)
    check_seed(seed)
    if head is not None:
        one_of("head", head, HEADS)
    opened = FeatureStore.open(store)
    labelled = load_targets(opened, labels)
    if labelled.problem.kind != "classes":
        raise InputError(f"Wrong labels are looked for among classes; {labels} has {labelled.problem.kind}.")
    if model is None:
        labelled = without_single_rows(labelled)
        folds = check_enough(labelled, opened, min(folds, len(labelled.rows)))
        name, classes, y, p = _out_of_fold(load_vectors(opened, labelled, NEAR, layer), head, folds, seed, progress)
    elif head is None:
        name, classes, y, p = _of_model(model, load_vectors(opened, labelled, None, layer))
    else:
        raise InputError("`model` answers itself: leave `head` away.")
    order, wrong = rank(p, y)
    (said, sure), own = likeliest(p), of_own(p, y)
    found = [
        Suspect(labelled.ids[i], classes[y[i]], classes[said[i]], float(sure[i]), float(own[i]), bool(wrong[i]))
        for i in order
        if said[i] != y[i]
    ]
    root = unescape_path(opened.provenance.root)
    made_by = None if model is None else str(model)
    suspects = Suspects(found, len(y), name, str(store), root, labelled.notes, made_by)
    if output is not None:
        write_table(suspects.table, output)
    return suspects


# What answered, its classes, the rows' numbers among these, int64 [n], and its probabilities.
_Answers = tuple[str, tuple[str, ...], np.ndarray, Answers]


def _out_of_fold(rows: Vectors, head: str | None, folds: int, seed: int, progress: Say | None) -> _Answers:
    name = head or ("ridge" if rows.x is None else "logistic")
    trainer = Trainer(name, HeadSettings(seed=seed), progress=progress)
    p = trainer.cross_validate(rows, assign_folds(rows.problem, folds, seed)).answers
    return name, rows.problem.names, rows.problem.y, p


def _of_model(model: str | Path, rows: Vectors) -> _Answers:
    given = open_given("model", model, rows)
    y, p = numbers_in(given, rows.problem), room_for(len(rows.labelled.rows), len(given.facts.classes))
    for answers, at in answers_in_blocks(given, rows):
        put(p, at, answers, y)
    return given.facts.kind, given.facts.classes, y, p


def rank(p: Answers, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows from the most to the least suspicious, int64 [n], and which of them count as wrong, bool [n].

    Args:
        p: out-of-fold probabilities of n rows.
        y: class numbers [n].
    """
    classes, top = top_of(p)
    own, rows = of_own(p, y), np.arange(len(y))
    counts = np.bincount(y, minlength=int(classes.max()) + 1)
    usual = np.where(counts > 0, np.bincount(y, own, len(counts)) / np.maximum(counts, 1), np.inf)
    confident = np.where(top >= usual[classes], top, -1)
    best = confident.argmax(axis=1)
    wrong = (confident[rows, best] >= 0) & (classes[rows, best] != y) & (likeliest(p)[0] != y)
    return np.argsort(own, kind="stable"), wrong
