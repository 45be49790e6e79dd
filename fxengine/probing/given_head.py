"""A head that somebody has, on the labelled rows of a store that did not train it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fxengine.errors import InputError, StoreError, path_of
from fxengine.features.blocks import store_blocks
from fxengine.heads.evaluate.scores import Problem
from fxengine.heads.file import Head
from fxengine.probing.vectors import Vectors


def open_given(parameter: str, path: str | Path, rows: Vectors) -> Head:
    """Return a head that answers for rows as one that has not seen them.

    Args:
        parameter: what gave it, for messages.
        path: its file.
        rows: rows with classes.

    Raises:
        InputError: there is no such head, it or the rows have no classes, it was trained on the rows' store, or takes
            another layer.
        StoreError: it is of another space, or does not know a class of the rows.
    """
    head = Head.load(path_of(parameter, path))
    facts, store = head.facts, rows.store
    if "numbers" in (facts.predicts, rows.problem.kind) or "labels" in (facts.predicts, rows.problem.kind):
        raise InputError(
            f"`{parameter}` answers {facts.predicts}, and {store.called} has {rows.problem.kind}: both must be classes."
        )
    head.check_space(store.provenance.space, store.called)
    if rows.layer != facts.layer:
        raise InputError(f"`{parameter}` takes the layer {facts.layer or 'that is the default'}: give that `layer`.")
    if facts.store is not None and Path(facts.store) == Path(store.place):
        raise InputError(
            f"`{parameter}` {path} was trained on {store.called}, and answers for rows that it knows already."
        )
    missing = sorted(set(rows.problem.names) - set(facts.classes))
    if missing:
        raise StoreError(
            f"{path} does not know the class {missing[0]!r} of {store.called}: give a head that was made with "
            "that name."
        )
    return head


def numbers_in(head: Head, problem: Problem) -> np.ndarray:
    """Return the class of every row as the head numbers it, int64 [n]; it may know further classes."""
    number = {name: i for i, name in enumerate(head.facts.classes)}
    numbers: np.ndarray = np.array([number[name] for name in problem.names])[problem.y]
    return numbers


def answers_in_blocks(head: Head, rows: Vectors) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield probabilities, float32 [block, classes], with the places of their rows, int64 [block]."""
    for x, at in store_blocks(rows.store, rows.labelled.rows, layer=rows.layer)():
        yield head.answers(x), at
