"""Labelled rows with their vectors, in memory where they fit, and which of them are copies of each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fxengine.errors import above_zero
from fxengine.features.blocks import as_matrix, store_blocks
from fxengine.features.read import FeatureStore
from fxengine.heads.evaluate.scores import Problem
from fxengine.neighbours.exact import exact_search, in_blocks
from fxengine.neighbours.groups import ALL_PAIRS, near_duplicate_groups
from fxengine.probing.targets import Labelled

# Vectors above this size in float32 are read in streams instead of being held.
IN_MEMORY = 256_000_000
# Cosine of two centred vectors from which they are taken for near-duplicates.
NEAR = 0.95
# A group of more than this share of the rows is no photo and its copies: the vectors are too alike to tell.
_LARGEST = 0.1
# Where more of the test rows are near a training row, the vectors are too alike to tell, too.
_TOO_ALIKE = 0.9


@dataclass(frozen=True)
class Vectors:
    """Labelled rows of a store.

    Attributes:
        store: the store.
        labelled: the rows; near-duplicates are in one group of its problem.
        layer: the layer whose vectors are meant.
        x: float32 [n, dim], or None where they do not fit into memory.
    """

    store: FeatureStore
    labelled: Labelled
    layer: str | None
    x: np.ndarray | None

    @property
    def problem(self) -> Problem:
        """What is to be predicted."""
        return self.labelled.problem

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return self.store.provenance.dim_of(self.layer)

    def chosen(self, n: int, seed: int) -> np.ndarray:
        """Return the places of at most `n` rows at random, sorted, int64."""
        return np.sort(np.random.default_rng(seed).permutation(len(self.labelled.rows))[:n])

    def sample(self, n: int, seed: int) -> tuple[np.ndarray, Problem]:
        """Return these rows, float32 [n, dim], with what is to be predicted of them."""
        chosen = self.chosen(n, seed)
        if self.x is not None:
            return self.x[chosen], self.problem.take(chosen)
        blocks = store_blocks(self.store, self.labelled.rows[chosen], layer=self.layer)
        return as_matrix(blocks, len(chosen), self.dim), self.problem.take(chosen)


def threshold(near: float) -> float | None:
    """Return the cosine that a person gave as `near`, or None for one over 1, which nothing reaches.

    Raises:
        InputError: it is no number above 0.
    """
    above_zero("near", near)
    return near if near <= 1 else None


def load_vectors(store: FeatureStore, labelled: Labelled, near: float | None, layer: str | None = None) -> Vectors:
    """Return the rows with their vectors; files of equal content, and vectors near each other, become groups.

    Args:
        store: the store.
        labelled: rows of it.
        near: cosine of two centred vectors from which they are near; None for no groups.
        layer: a further layer's name; the default one unless given.

    Raises:
        StoreError: a vector has a value that is not finite.
    """
    n, dim = len(labelled.rows), store.provenance.dim_of(layer)
    x = None
    if 4 * n * dim <= IN_MEMORY:
        x = as_matrix(store_blocks(store, labelled.rows, layer=layer), n, dim)
    groups = labelled.problem.groups if near is None else _groups(x, labelled.hashes, near)
    return Vectors(store, replace(labelled, problem=replace(labelled.problem, groups=groups)), layer, x)


def _groups(x: np.ndarray | None, hashes: list[str | None], near: float) -> np.ndarray:
    """Return the group of every row; by the vectors only where these tell pictures apart."""
    if x is not None and len(x) <= ALL_PAIRS:  # with more rows only equal files are kept together
        # Centred, for the vectors of a net that ends in a ReLU all point about the same way.
        groups = near_duplicate_groups(x - x.mean(axis=0), hashes, near)
        if np.bincount(groups).max() <= max(2, _LARGEST * len(x)):
            return groups
    first: dict[str, int] = {}
    return np.array([first.setdefault(key, i) if key else i for i, key in enumerate(hashes)], np.int64)


def copies_of(train: Vectors, test: Vectors, near: float | None) -> np.ndarray:
    """Return which rows of `test` are also in `train`, bool [n]: files of equal content, and vectors as near.

    Args:
        train: rows that a head is trained on.
        test: rows that it is evaluated on.
        near: cosine of two vectors, centred on the training rows, from which they are near; None for no row.
    """
    if near is None:
        return np.zeros(len(test.labelled.rows), bool)
    known = set(train.labelled.hashes) - {None}
    same = np.array([key in known for key in test.labelled.hashes], bool)
    if train.x is None or test.x is None:
        return same
    mean = train.x.mean(axis=0)
    nearest = exact_search(in_blocks(train.x - mean), test.x - mean, 1, "cosine")[1][:, 0] >= near
    return same if nearest.mean() > _TOO_ALIKE else same | nearest
