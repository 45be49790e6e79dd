"""What is told before a training begins: too little to learn from, copies on two sides, nothing to gain."""

from __future__ import annotations

import numpy as np

from fxengine.collect.item import SPLITS
from fxengine.errors import StoreError
from fxengine.heads.evaluate.scores import Problem, deciding_score
from fxengine.probing.targets import Labelled
from fxengine.train.gain import gain_of
from fxengine.train.splits import LEAST, TEST, TRAIN, VALIDATION, rare_rows

_SEARCH = "`fxengine search` finds what is like a {}, without classes."
_SIDES = ((VALIDATION, "select on"), (TEST, "report on"))


def check_classes(labelled: Labelled, store: str, modality: str) -> None:
    """Raise StoreError where there are too few rows for three sides; it says what works instead.

    Args:
        labelled: the rows; those of a group of its problem are copies of each other.
        store: the folder of their store.
        modality: what the rows are, "picture" or "text".
    """
    problem = labelled.problem
    if problem.kind != "classes":
        if len(np.unique(problem.groups)) < LEAST:
            raise StoreError(
                f"{len(problem.y)} {modality}s have a target; {LEAST} that are no copies of each other are needed, "
                "to train on, to select on and to report on."
            )
        return
    names, search = problem.names, _SEARCH.format(modality)
    counts = np.bincount(problem.y, minlength=len(names))
    if len(names) == 1:
        raise StoreError(
            f"All {counts[0]} {modality}s with a label are of one class ({names[0]!r}), and a net learns to tell "
            f"classes apart: give {modality}s of another one, too. {search}"
        )
    if counts.min() < 2:
        rest, name = int((counts < 2).sum()) - 1, names[counts.argmin()]
        hint = " Whole numbers are classes unless `kind` says numbers." if name.isdigit() else ""
        more = f" (so {'has' if rest == 1 else 'have'} {rest} other{'s' * (rest > 1)})" if rest else ""
        raise StoreError(
            f"Class {name!r} has one {modality}{more}; fine-tuning needs {LEAST} of each class: to "
            f"train on, to select on and to report on. Add some, or leave such a class out. {search}{hint}"
        )
    if not {"val", "test"} <= _given_sides(labelled) and rare_rows(problem.y, problem.groups).all():
        raise StoreError(
            f"No class has {LEAST} {modality}s that are no copies of each other, and fine-tuning needs as many: to "
            "train on, to select on and to report on. A head on the features does with two: "
            f"`fxengine probe {store} -o head.onnx`."
        )


def _given_sides(labelled: Labelled) -> set[str | None]:
    return {SPLITS.get((split or "").lower()) for split in labelled.splits}


def rare_classes(labelled: Labelled, modality: str) -> tuple[str, ...]:
    """Return a sentence where classes have too few rows to be on every side; none of a given split's."""
    problem = labelled.problem
    if problem.kind != "classes" or _given_sides(labelled) & {"val", "test"}:
        return ()
    rare = np.unique(problem.y[rare_rows(problem.y, problem.groups)])
    if not len(rare):
        return ()
    return (
        f"{len(rare)} of {len(problem.names)} classes have fewer than {LEAST} {modality}s, such as "
        f"{problem.names[rare[0]]!r}: they are trained on, and how well they are told is not known.",
    )


def copies_across(labelled: Labelled, split: np.ndarray, modality: str) -> tuple[str, ...]:
    """Return a sentence for each side that shares rows with those to train on, by the groups of the problem.

    Args:
        labelled: the rows.
        split: the side of each, int64 [n].
        modality: what they are.
    """
    groups, hashes, said = labelled.problem.groups, np.array(labelled.hashes, object), []
    known = set(hashes[split == TRAIN]) - {None}
    for side, doing in _SIDES:
        rows = np.flatnonzero(split == side)
        copies = rows[np.isin(groups[rows], groups[split == TRAIN])]
        if len(copies):
            same = sum(key in known for key in hashes[copies])
            said.append(
                f"{len(copies)} of {len(rows)} {modality}s to {doing} are also among those to train on ({same} the "
                f"same file, {len(copies) - same} nearly the same, by `near`), such as {labelled.ids[copies[0]]!r}: "
                "the score says less of new ones. Take them out of one side."
            )
    return tuple(said)


def nothing_to_gain(problem: Problem, answers: np.ndarray, modality: str) -> str:
    """Return why no net can do better than the probe on the rows to select on, or "" where one can.

    Args:
        problem: these rows.
        answers: of the probe for them, float32 [n, outputs].
        modality: what the rows are.
    """
    if deciding_score(problem, answers) < 1:
        return ""
    return (
        f"The probe is right on all {len(problem.y)} {modality}s to select on, so no net could be seen to do better, "
        f"and none was trained: where more is wanted, give more {modality}s to select on, or harder ones."
    )


def too_few_mistakes(problem: Problem, answers: np.ndarray, modality: str) -> tuple[str, ...]:
    """Return a sentence where even a net without a mistake on the rows to select on would not gain more than chance."""
    if problem.kind != "classes":
        return ()
    wrong = int((answers.argmax(axis=1) != problem.y).sum())
    perfect = np.eye(len(problem.names), dtype=np.float32)[problem.y]
    if not wrong or gain_of(problem, perfect, answers).real:
        return ()
    return (
        f"The probe is wrong on {wrong} of {len(problem.y)} {modality}s to select on, too few for a gain to be told "
        f"from chance: a tuned net cannot be kept. Give more {modality}s to select on.",
    )
