"""Which rows are trained on, selected on and reported on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from fxengine.collect.item import SPLITS
from fxengine.errors import StoreError

TRAIN, VALIDATION, TEST = 0, 1, 2
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
    rows some of the training rows are taken. Rows of one group stay on one side.

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
    if not (known == TEST).any():
        pool = known == VALIDATION if (known == VALIDATION).any() else known == TRAIN
        share = 0.5 if (known == VALIDATION).any() else test
        known[_some(np.flatnonzero(pool), y, groups, share, seed)] = TEST
    if not (known == VALIDATION).any():
        rows = np.flatnonzero(known == TRAIN)
        share = min(validation * len(known) / max(len(rows), 1), 0.5)
        known[_some(rows, y, groups, share, seed + 1)] = VALIDATION
    for number, name in ((TRAIN, "train on"), (VALIDATION, "select on"), (TEST, "report on")):
        if not (known == number).any():
            way = "folders train/, val/ and test/" if modality == "picture" else "a `split_column`"
            raise StoreError(f"No {modality} is left to {name}: more {modality}s, or {way}.")
    return known


def _some(rows: np.ndarray, y: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return about `share` of the rows, stratified by class, whole groups."""
    folds = max(2, round(1 / share))
    if len(np.unique(groups[rows])) < folds:
        return rows[:0]
    cls = StratifiedGroupKFold if y.ndim == 1 else GroupKFold
    splitter = cls(folds, shuffle=True, random_state=seed)
    _, taken = next(iter(splitter.split(rows, y[rows], groups[rows])))
    return np.asarray(rows[taken])
