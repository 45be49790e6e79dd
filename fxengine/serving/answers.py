"""What a head says of every row: its answer, how probable it is, and how much in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fxengine.features.float16 import widen
from fxengine.serving.ask import index_of
from fxengine.serving.opened import Opened, Refused

if TYPE_CHECKING:
    from fxengine.heads.file import Head

_ROWS = 4096  # at a time
_SHOWN = 5  # answers of one row


@dataclass(frozen=True)
class Answers:
    """The answers of a head for the rows that have a vector, in the store's order.

    Attributes:
        best: number of the most probable class, int32 [m].
        probability: of that class, float32 [m].
        doubt: 1 less what it is more probable than the second one, float32 [m].
    """

    best: np.ndarray
    probability: np.ndarray
    doubt: np.ndarray


def answers_of(opened: Opened) -> Answers:
    """Return what the head says of every row; raises Refused where there is none, or it says numbers."""
    head = opened.head
    if head is None:
        raise Refused(400, "No head answers here: `fxengine serve STORE --model head.onnx` gives one.")
    if head.facts.predicts != "classes":
        raise Refused(400, f"The head answers {head.facts.predicts}, not classes: it has no probabilities to sort by.")
    return opened.once("answers", lambda: _answers(head, index_of(opened).matrix))


def _answers(head: Head, matrix: np.ndarray) -> Answers:
    found = Answers(*(np.empty(len(matrix), kind) for kind in (np.int32, np.float32, np.float32)))
    for start in range(0, len(matrix), _ROWS):
        block = slice(start, start + _ROWS)
        said = head.answers(widen(matrix[block]))
        top = np.sort(said, axis=1)[:, -2:]
        found.best[block] = said.argmax(axis=1)
        found.probability[block] = top[:, -1]
        found.doubt[block] = 1 - (top[:, -1] - (top[:, 0] if top.shape[1] > 1 else 0))
    return found


def answers_for(opened: Opened, vector_place: int) -> list[dict[str, Any]]:
    """Return the most probable names of one row, or of a head of numbers all values; empty where there is no head."""
    head = opened.head
    if head is None:
        return []
    said = head.answers(widen(index_of(opened).matrix[vector_place : vector_place + 1]))[0]
    order = np.argsort(-said, kind="stable")[:_SHOWN] if head.facts.predicts != "numbers" else np.arange(len(said))
    return [{"name": head.facts.classes[i], "value": float(said[i])} for i in order]
