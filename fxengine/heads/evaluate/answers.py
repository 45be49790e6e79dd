"""Probabilities of classes for many rows: all of them where they fit, else of every row the likeliest few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Numbers of float32 that are held as they are: 256 MB.
WHOLE = 1 << 26
# Rows at random of which everything is known, where not everything can be.
SAMPLE = 50_000
_FEW = 5


@dataclass(frozen=True)
class TopAnswers:
    """Probabilities of classes, of n rows the likeliest few.

    Attributes:
        classes: int32 [n, few], the likeliest first.
        p: float32 [n, few], their probabilities.
        own: float32 [n], that of the row's own class.
        place: int32 [n], the row's place in `drawn`, -1 where it was not drawn.
        drawn: float32 [m, classes], all probabilities of rows drawn at random.
    """

    classes: np.ndarray
    p: np.ndarray
    own: np.ndarray
    place: np.ndarray
    drawn: np.ndarray


# Of classes float32 [n, classes], or the likeliest few of them; of labels and numbers always float32 [n, outputs].
Answers = np.ndarray | TopAnswers


def room_for(rows: int, outputs: int, seed: int = 0) -> Answers:
    """Return room for the answers of some rows, to be filled by `put`; `seed` draws those that are held whole."""
    if rows * outputs <= WHOLE:
        return np.empty((rows, outputs), np.float32)
    place = np.random.default_rng(seed).permutation(rows).astype(np.int32)
    count = min(SAMPLE, rows, WHOLE // outputs)
    place[place >= count] = -1
    few, own = min(_FEW, outputs), np.empty(rows, np.float32)
    top = np.empty((rows, few), np.int32), np.empty((rows, few), np.float32)
    return TopAnswers(*top, own, place, np.empty((count, outputs), np.float32))


def put(answers: Answers, at: np.ndarray, p: np.ndarray, y: np.ndarray) -> None:
    """Put the answers p, float32 [k, outputs], of the rows `at`, int64 [k], into their room.

    Args:
        answers: from `room_for`.
        at: places of rows.
        p: their answers.
        y: class numbers of all rows, int64 [n]; not read where all answers are held.
    """
    if isinstance(answers, np.ndarray):
        answers[at] = p
        return
    some, few = np.arange(len(at))[:, None], answers.p.shape[1]
    top = np.argpartition(p, -few, axis=1)[:, -few:]
    top = top[some, np.argsort(-p[some, top], axis=1, kind="stable")]
    answers.classes[at], answers.p[at] = top, p[some, top]
    answers.own[at] = p[some[:, 0], y[at]]
    mine = answers.place[at] >= 0
    answers.drawn[answers.place[at[mine]]] = p[mine]


def likeliest(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Return the likeliest class of every row, int64 [n], and its probability, float32 [n]."""
    if isinstance(answers, np.ndarray):
        return answers.argmax(axis=1), answers.max(axis=1)
    return answers.classes[:, 0].astype(np.int64), answers.p[:, 0]


def of_own(answers: Answers, y: np.ndarray) -> np.ndarray:
    """Return the probability of every row's own class, float32 [n]; y is that class, int64 [n]."""
    return answers[np.arange(len(y)), y] if isinstance(answers, np.ndarray) else answers.own


def top_of(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Return classes that are known of every row, int [n, few], and their probabilities, float32 [n, few]."""
    if isinstance(answers, np.ndarray):
        return np.broadcast_to(np.arange(answers.shape[1]), answers.shape), answers
    return answers.classes, answers.p


def drawn_from(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of which all is known, int64 [m], and what, float32 [m, outputs]: all rows, or some at random."""
    if isinstance(answers, np.ndarray):
        return np.arange(len(answers)), answers
    rows = np.flatnonzero(answers.place >= 0)
    return rows, answers.drawn[answers.place[rows]]


def taken(answers: Answers, rows: np.ndarray) -> Answers:
    """Return the answers of fewer rows, int64 [k]."""
    if isinstance(answers, np.ndarray):
        found: np.ndarray = answers[rows]
        return found
    return TopAnswers(answers.classes[rows], answers.p[rows], answers.own[rows], answers.place[rows], answers.drawn)
