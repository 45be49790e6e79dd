"""What a probe found, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from fxengine.heads.evaluate.answers import Answers, likeliest
from fxengine.heads.evaluate.calibration import reliability
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import DECIDES, Problem, all_scores

_MISTAKES = 24


@dataclass(frozen=True)
class Mistake:
    """A row whose class was not recognised: id, its label, what was answered and how surely."""

    id: str
    label: str
    answer: str
    probability: float


@dataclass(frozen=True)
class ClassScores:
    """How well one class or label is recognised; `recall` is the share of its rows."""

    rows: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Curve:
    """The learning curve.

    Attributes:
        rows: training rows of each point.
        scores: mean score of each point.
        expected: (training rows, score with its 95% interval) beyond the last point.
    """

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    expected: tuple[tuple[int, Interval], ...]


@dataclass(frozen=True)
class BesideZeroShot:
    """How well a zero-shot head does on the rows that a probe was tested on, and what labels bring beyond it.

    Attributes:
        score: its accuracy on all of these rows.
        few: (labels of each class, accuracy of a head trained on so many) from 1 on, twice as many each time, to all.
        compared: the zero-shot head's accuracy on the rows that `few` is of, at most 5,000.
        wins_from: the labels of each class from which on the whole interval lies above that; None where that of the
            last one does not.
    """

    score: Interval
    few: tuple[tuple[int, Interval], ...]
    compared: float
    wins_from: int | None

    def in_words(self) -> str:
        """Return from how many labels on training wins, in a sentence."""
        if self.wins_from is not None:
            s = "" if self.wins_from == 1 else "s"
            return f"training wins from {self.wins_from} label{s} a class on"
        return "with all of them, training does not win for sure"


@dataclass(frozen=True)
class ProbeReport:
    """How well a head does on rows that it was not trained on.

    Attributes:
        head: its name.
        kind: what it predicts: "classes", "labels" or "numbers".
        metric: what `score` is: "accuracy", "mean_average_precision" or "r2".
        score: the score that decides, with its 95% interval.
        evaluation: how it was measured, in words.
        chance: the score of always giving the most frequent answer.
        rows: rows that it was evaluated on.
        trained_on: rows of the head that is saved.
        scores: every other score.
        per_class: class or label -> rows, precision, recall, F1.
        confusion: rows of each class (in the order of `per_class`) answered as each class; classes only.
        reliability: (mean confidence, accuracy, share of rows) by confidence; classes only.
        mistakes: the most confident ones; classes only.
        duplicates: rows that have a near-duplicate among the others; of test rows, among those trained on.
        ungrouped: the score where near-duplicates may stand in different folds; None where there are none.
        without_copies: the score on the test rows that have no near-duplicate among those trained on; None where all or
            none have, and in a cross-validation, whose folds part none.
        curve: the learning curve, where it was asked for.
        tried: score of every head that was tried.
        seconds: that all this took.
        output: file of the head, or None.
        notes: how many labels of a file fit, and what was left out, a sentence each.
        store: folder of the store that was probed.
        root: folder that ids are relative to.
        zero_shot: a zero-shot head on the same rows, where one was given.
    """

    head: str
    kind: str
    metric: str
    score: Interval
    evaluation: str
    chance: float
    rows: int
    trained_on: int
    scores: dict[str, float | None]
    per_class: dict[str, ClassScores] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    reliability: list[tuple[float, float, float]] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    duplicates: int = 0
    ungrouped: Interval | None = None
    without_copies: Interval | None = None
    curve: Curve | None = None
    tried: dict[str, Interval] = field(default_factory=dict)
    seconds: float = 0.0
    output: str | None = None
    notes: tuple[str, ...] = ()
    store: str = ""
    root: str = ""
    zero_shot: BesideZeroShot | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data; the score also under the metric's own name."""
        return {self.metric: asdict(self.score), **asdict(self)}


@dataclass(frozen=True)
class Answered:
    """Rows with a head's answers for them.

    Attributes:
        problem: what was to be predicted.
        answers: a head's.
        ids: n of them.
    """

    problem: Problem
    answers: Answers
    ids: Sequence[str]


def describe(rows: Answered, *, head: str, score: Interval, evaluation: str, trained_on: int) -> ProbeReport:
    """Return the report of a head's answers for rows that it was not trained on.

    Args:
        rows: the rows and the answers.
        head: its name.
        score: the score that decides.
        evaluation: how it was measured, in words.
        trained_on: rows of the head that is saved.
    """
    problem, answers = rows.problem, rows.answers
    report = ProbeReport(
        head=head,
        kind=problem.kind,
        metric=DECIDES[problem.kind],
        score=score,
        evaluation=evaluation,
        chance=_chance(problem),
        rows=len(problem.y),
        trained_on=trained_on,
        scores=all_scores(problem, answers),
    )
    if problem.kind == "numbers":
        return report
    if problem.kind == "labels" and isinstance(answers, np.ndarray):
        return replace(report, per_class=_per_class(problem, answers > 0.5))
    said, sure = likeliest(answers)
    return replace(
        report,
        per_class=_per_class(problem, said),
        confusion=confusion_matrix(problem.y, said, labels=list(range(len(problem.names)))).tolist(),
        reliability=reliability(answers, problem.y),
        mistakes=_mistakes(rows, said, sure),
    )


def _per_class(problem: Problem, said: np.ndarray) -> dict[str, ClassScores]:
    numbers = list(range(len(problem.names)))
    columns = precision_recall_fscore_support(problem.y, said, labels=numbers, zero_division=0)
    return {
        name: ClassScores(int(rows), float(precision), float(recall), float(f1))
        for name, precision, recall, f1, rows in zip(problem.names, *columns, strict=True)
    }


def _chance(problem: Problem) -> float:
    if problem.kind == "numbers":
        return 0.0
    if problem.kind == "labels":
        return float(problem.y.mean())  # the average precision of answers at random
    return float(np.bincount(problem.y).max() / len(problem.y))


def _mistakes(rows: Answered, said: np.ndarray, sure: np.ndarray) -> list[Mistake]:
    y, names = rows.problem.y, rows.problem.names
    wrong = np.flatnonzero(said != y)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:_MISTAKES]
    return [Mistake(rows.ids[i], names[y[i]], names[said[i]], float(sure[i])) for i in surest]
