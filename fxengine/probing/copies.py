"""What near-duplicates do to the score of a probe."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fxengine.heads.evaluate.answers import Answers, taken
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import assign_folds, interval_of
from fxengine.probing.trainer import Trainer
from fxengine.probing.vectors import Vectors, copies_of


@dataclass(frozen=True)
class Copies:
    """Rows that have a near-duplicate, and the scores beside it: see `fxengine.probing.report.ProbeReport`."""

    rows: int
    ungrouped: Interval | None = None
    without: Interval | None = None


def copies_within(trainer: Trainer, rows: Vectors, folds: int, seed: int) -> Copies:
    """Return what a cross-validation that does not look for near-duplicates says, which has them in any fold."""
    sizes = np.bincount(rows.problem.groups)
    count = int(sizes[sizes > 1].sum())
    if not rows.problem.grouped:
        return Copies(count)
    plain = replace(rows.problem, groups=np.arange(len(rows.problem.y)))
    fold = assign_folds(plain, folds, seed)
    return Copies(count, ungrouped=interval_of(plain, [trainer.cross_validate(rows, fold).answers], folds=folds))


def copies_across(answers: Answers, train: Vectors, test: Vectors, near: float | None) -> Copies:
    """Return the score on those rows of `test` that have no near-duplicate in `train`.

    Args:
        answers: of a head of `train` for `test`.
        train: rows that it was trained on.
        test: n rows that it was tested on.
        near: as for `copies_of`.
    """
    copies = copies_of(train, test, near)
    others = np.flatnonzero(~copies)
    if len(others) in (0, len(copies)):
        return Copies(int(copies.sum()))
    return Copies(int(copies.sum()), without=interval_of(test.problem.take(others), [taken(answers, others)]))
