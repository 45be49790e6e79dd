"""Which rows are trained on, selected on and reported on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from fxengine.collect.item import SPLITS
from fxengine.errors import StoreError

TRAIN, VALIDATION, TEST = 0, 1, 2
LEAST = 3  # rows of a class, copies counted once: one for each side
_SIDES = {"train": TRAIN, "val": VALIDATION, "test": TEST}


def split_rows(
    splits: Sequence[str | None],
    y: np.ndarray,
    groups: np.ndarray,
    validation: float,
    test: float,
    seed: int,
    modality: str = "picture",
) -> np.ndarray:
    """Return int64 [n]: `TRAIN`, `VALIDATION` or `TEST` for every row.

    Splits that are given are kept. Without a given test the validation rows are halved into both, without validation
    rows some of the training rows are taken. Rows of one group stay on one side; none is taken of a class with fewer
    than `LEAST` of them, unless all classes are as small.

    Args:
        splits: n names, None where unknown; one that is not in `fxengine.features.schema.SPLITS` is trained on.
        y: class numbers int64 [n] (stratified), or anything else [n, ...].
        groups: int64 [n], such as near-duplicates.
        validation: share of all rows.
        test: share of all rows.
        seed: of the choice.
        modality: what the rows are, "picture" or "text".

    Raises:
        StoreError: a side is left without a row.
    """
    known = np.array([_SIDES[SPLITS.get((name or "").lower(), "train")] for name in splits], np.int64)
    spared = rare_rows(y, groups)
    spared &= not spared.all()
    if not (known == TEST).any():
        pool = known == VALIDATION if (known == VALIDATION).any() else (known == TRAIN) & ~spared
        share = 0.5 if (known == VALIDATION).any() else test
        known[_some(np.flatnonzero(pool), y, groups, share, seed)] = TEST
    if not (known == VALIDATION).any():
        rows = np.flatnonzero((known == TRAIN) & ~spared)
        share = min(validation * len(known) / max(len(rows), 1), 0.5)
        known[_some(rows, y, groups, share, seed + 1)] = VALIDATION
    for number, name in ((TRAIN, "train on"), (VALIDATION, "select on"), (TEST, "report on")):
        if not (known == number).any():
            way = "folders train/, val/ and test/" if modality == "picture" else "a `split_column`"
            raise StoreError(f"No {modality} is left to {name}: more {modality}s, or {way}.")
    return known


def rare_rows(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return which rows are of a class with fewer than `LEAST` groups, bool [n]; none where `y` says no classes."""
    if y.ndim != 1:
        return np.zeros(len(y), bool)
    pairs = np.unique(np.stack([y, groups]), axis=1)
    rare: np.ndarray = (np.bincount(pairs[0], minlength=int(y.max(initial=0)) + 1) < LEAST)[y]
    return rare


def _some(rows: np.ndarray, y: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return about `share` of the rows, stratified by class, whole groups; a larger one where there are few rows."""
    most = int(np.bincount(y[rows]).max(initial=0)) if y.ndim == 1 else len(rows)
    folds = min(max(2, round(1 / share)), most, len(np.unique(groups[rows])))
    if folds < 2:
        return rows[:0]
    cls = StratifiedGroupKFold if y.ndim == 1 else GroupKFold
    splitter = cls(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # its rows are dealt out as far as they go
        _, taken = next(iter(splitter.split(rows, y[rows], groups[rows])))
    return np.asarray(rows[taken])
