"""Class numbers as targets, and which fold each row is in."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def one_hot(y: np.ndarray, classes: int) -> sparse.csr_array:
    """Return float32 [n, classes] with a 1 at each row's class number.

    Args:
        y: class numbers int64 [n], from 0.
        classes: how many there are.
    """
    n = len(y)
    return sparse.csr_array((np.ones(n, np.float32), y, np.arange(n + 1)), shape=(n, classes))


def balanced_weights(y: np.ndarray, classes: int) -> np.ndarray:
    """Return float64 [n], n / (classes * rows of the class): every class counts as much (scikit-learn's "balanced").

    Args:
        y: class numbers int64 [n], from 0.
        classes: how many there are; one may have no row.
    """
    counts = np.bincount(y, minlength=classes)
    weights: np.ndarray = len(y) / (classes * np.maximum(counts, 1))[y]
    return weights


def deal_folds(y: np.ndarray | None, n: int, folds: int, seed: int) -> np.ndarray:
    """Return int64 [n]: rows dealt to folds at random, class by class, so that each has about its share of each class.

    Unlike scikit-learn's StratifiedKFold it takes classes of any size; it is for choices inside a fit.

    Args:
        y: class numbers int64 [n]; None where rows have no class.
        n: rows.
        folds: how many, numbered from 0.
        seed: of the order in which rows are dealt.
    """
    order = np.random.default_rng(seed).permutation(n)
    if y is not None:
        order = order[np.argsort(y[order], kind="stable")]
    fold = np.empty(n, np.int64)
    fold[order] = np.arange(n) % folds
    return fold
