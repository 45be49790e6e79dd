"""A zero-shot head on the rows that a probe is tested on: what it knows without labels, and what these bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fxengine.errors import InputError
from fxengine.heads import NEEDS_TWO, HeadPipeline, make_head
from fxengine.heads.evaluate.few_labels import few_labels
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import Problem, accuracy_interval
from fxengine.heads.file import Head
from fxengine.probing.given_head import answers_in_blocks, numbers_in, open_given
from fxengine.probing.report import BesideZeroShot
from fxengine.probing.trainer import Trainer
from fxengine.probing.vectors import Vectors

_ROWS = 5000  # that few labels are looked at in, at most


def open_zero_shot(path: str | Path, rows: Vectors) -> Head:
    """Return a zero-shot head that can be scored on rows; raises as `open_given`, and InputError for a trained one."""
    head = open_given("zeroshot", path, rows)
    if head.facts.zero_shot is None:
        raise InputError(f"`zeroshot` {path} was trained: it takes a head that `fxengine zeroshot` made.")
    return head


def beside_zero_shot(
    head: Head, trainer: Trainer, train: Vectors, test: Vectors | None, fold: np.ndarray, seed: int
) -> BesideZeroShot:
    """Return how a zero-shot head does on the tested rows, and a trained one on few labels and on more.

    Args:
        head: from `open_zero_shot`.
        trainer: what trains.
        train: rows to train on.
        test: rows to be tested; without, those of each fold, by heads of the others.
        fold: of the rows to train on, int64 [n], from `assign_folds`.
        seed: of the choice of rows.
    """
    tested = test or train
    right = _recognised(head, tested)
    x, problem = train.sample(_ROWS, seed)
    chosen = tested.chosen(_ROWS, seed)
    if test is None:
        fold = fold[chosen]
    else:
        more, others = test.sample(_ROWS, seed)
        fold = np.repeat([-1, 0], [len(x), len(more)])  # the first are trained on, never tested
        x, problem = np.concatenate([x, more]), _joined(problem, others)
    groups, compared = tested.problem.groups, float(right[chosen].mean())
    few: list[tuple[int, Interval]] = []
    folds = int(fold.max()) + 1 if test is None else 0
    least = 2 if trainer.name in NEEDS_TWO else 1
    for count, known in few_labels(_maker(trainer), x, problem, fold, seed=seed, least=least):
        few.append((count, accuracy_interval(float(known.mean()), groups[chosen], folds)))
        if trainer.progress is not None:
            trainer.progress(f"{trainer.name} of {count} of each class: {few[-1][1]}")
    score = accuracy_interval(float(right.mean()), groups)
    return BesideZeroShot(score, tuple(few), compared, wins_from(few, compared))


def wins_from(few: Sequence[tuple[int, Interval]], compared: float) -> int | None:
    """Return from how many labels on every interval lies above an accuracy; None where the last one does not."""
    wins = None
    for count, score in reversed(few):
        if score.low <= compared:
            break
        wins = count
    return wins


def _recognised(head: Head, rows: Vectors) -> np.ndarray:
    """Return which rows the head names as their labels do, bool [n]."""
    wanted = numbers_in(head, rows.problem)
    right = np.empty(len(wanted), bool)
    for answers, at in answers_in_blocks(head, rows):
        right[at] = answers.argmax(axis=1) == wanted[at]
    return right


def _maker(trainer: Trainer) -> Callable[[int], HeadPipeline]:
    def make(rows: int) -> HeadPipeline:
        settings = replace(trainer.settings, pca=min(trainer.settings.pca, rows))
        return make_head(trainer.name, "classes", settings, rows=rows)

    return make


def _joined(train: Problem, test: Problem) -> Problem:
    return replace(train, y=np.concatenate([train.y, test.y]), groups=np.concatenate([train.groups, test.groups]))
