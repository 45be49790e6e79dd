"""Labelled rows with their vectors, in memory where they fit; and a head's answers for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fxengine.features.blocks import Say, as_matrix, matrix_blocks, store_blocks, told
from fxengine.features.read import FeatureStore
from fxengine.heads import make_head
from fxengine.heads.evaluate.calibration import TINY, fit_scale, sharpen
from fxengine.heads.evaluate.scores import Problem, all_answers, out_of_fold
from fxengine.heads.streams import streamed
from fxengine.neighbours.exact import exact_search, in_blocks
from fxengine.neighbours.groups import near_duplicate_groups
from fxengine.probing.targets import Labelled

# Vectors above this size in float32 are read in streams instead of being held.
IN_MEMORY = 256_000_000
# Near-duplicates are compared each with each up to so many rows; above only equal files are kept together.
_COMPARED = 30_000
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
        return self.store.provenance.columns[self.store.provenance.column(self.layer)]

    def sample(self, n: int, seed: int) -> tuple[np.ndarray, Problem]:
        """Return at most `n` rows at random, float32 [n, dim], with what is to be predicted of them."""
        count = len(self.labelled.rows)
        chosen = np.sort(np.random.default_rng(seed).permutation(count)[:n])
        if self.x is not None:
            return self.x[chosen], self.problem.take(chosen)
        blocks = store_blocks(self.store, self.labelled.rows[chosen], layer=self.layer)
        return as_matrix(blocks, len(chosen), self.dim), self.problem.take(chosen)


def load_vectors(store: FeatureStore, labelled: Labelled, near: float, layer: str | None = None) -> Vectors:
    """Return the rows with their vectors; files of equal content, and vectors near each other, become groups.

    Args:
        store: the store.
        labelled: rows of it.
        near: cosine of two centred vectors from which they are near; over 1 for no groups at all.
        layer: a further layer's name; the default one unless given.

    Raises:
        StoreError: a vector has a value that is not finite.
    """
    n, dim = len(labelled.rows), store.provenance.columns[store.provenance.column(layer)]
    x = None
    if 4 * n * dim <= IN_MEMORY:
        x = as_matrix(store_blocks(store, labelled.rows, layer=layer), n, dim)
    groups = _groups(x, labelled.hashes, near) if near <= 1 else labelled.problem.groups
    return Vectors(store, replace(labelled, problem=replace(labelled.problem, groups=groups)), layer, x)


def _groups(x: np.ndarray | None, hashes: list[str | None], near: float) -> np.ndarray:
    """Return the group of every row; by the vectors only where these tell pictures apart."""
    if x is not None and len(x) <= _COMPARED:
        # Centred, for the vectors of a net that ends in a ReLU all point about the same way.
        groups = near_duplicate_groups(x - x.mean(axis=0), hashes, near)
        if np.bincount(groups).max() <= max(2, _LARGEST * len(x)):
            return groups
    first: dict[str, int] = {}
    return np.array([first.setdefault(key, i) if key else i for i, key in enumerate(hashes)], np.int64)


def copies_of(train: Vectors, test: Vectors, near: float) -> np.ndarray:
    """Return which rows of `test` are also in `train`, bool [n]: files of equal content, and vectors as near.

    Args:
        train: rows that a head is trained on.
        test: rows that it is evaluated on.
        near: cosine of two vectors, centred on the training rows, from which they are near; over 1 for none.
    """
    if near > 1:
        return np.zeros(len(test.labelled.rows), bool)
    known = set(train.labelled.hashes) - {None}
    same = np.array([key in known for key in test.labelled.hashes], bool)
    if train.x is None or test.x is None:
        return same
    mean = train.x.mean(axis=0)
    nearest = exact_search(in_blocks(train.x - mean), test.x - mean, 1, "cosine")[1][:, 0] >= near
    return same if nearest.mean() > _TOO_ALIKE else same | nearest


@dataclass(frozen=True)
class Trainer:
    """A head with its settings, to be trained on any rows.

    Attributes:
        name: a key of `fxengine.heads.HEADS`.
        balanced: whether every class counts as much, whatever its rows.
        calibrate: whether to scale probabilities of classes by the temperature with the least log loss.
        pca: components before the head; 0 for none.
        seed: of everything random.
        hidden: units of the layers of `mlp`; its own unless given.
        progress: told how far it is, where rows are read in streams.
    """

    name: str
    balanced: bool = False
    calibrate: bool = False
    pca: int = 0
    seed: int = 0
    hidden: tuple[int, ...] = ()
    progress: Say | None = None

    def make(self, problem: Problem) -> Callable[[], Any]:
        """Return what makes an unfitted pipeline."""
        rows = len(problem.y) // 2  # no fold leaves fewer
        return lambda: make_head(
            self.name,
            problem.kind,
            balanced=self.balanced,
            seed=self.seed,
            rows=rows,
            pca=self.pca,
            hidden=self.hidden,
        )

    def cross_validate(self, rows: Vectors, fold: np.ndarray) -> CrossValidated:
        """Return the answers of every row by a head of the other folds."""
        pipeline, scale = None, 1.0
        if self._streamed(rows):
            model, found = self._stream(rows, fold)
            pipeline = _pipeline(model)
        else:
            assert rows.x is not None
            found = out_of_fold(self.make(rows.problem), rows.x, rows.problem, fold)
        if self.calibrate and rows.problem.kind == "classes":
            y, logs = rows.problem.y, np.log(np.maximum(found, TINY))
            scaled = found.copy()
            for number in range(int(fold.max()) + 1):
                mine = fold == number
                scaled[mine] = sharpen(found[mine], fit_scale(logs[~mine], y[~mine]))
            found, scale = scaled, fit_scale(logs, y)
        return CrossValidated(found, scale, pipeline)

    def train(self, rows: Vectors, fold: np.ndarray) -> Any:
        """Return the pipeline fitted to all rows; `fold` serves the choices inside a fit in streams."""
        if self._streamed(rows):
            return _pipeline(self._stream(rows, fold)[0])
        return self.make(rows.problem)().fit(rows.x, rows.problem.y)

    def _streamed(self, rows: Vectors) -> bool:
        """Whether to take the statistics' way: rows do not fit, or are many more than their numbers."""
        if rows.x is None:
            return True
        return self.name == "ridge" and not self.pca and len(rows.x) > 2 * rows.dim

    def _stream(self, rows: Vectors, fold: np.ndarray) -> tuple[Any, np.ndarray]:
        if rows.x is not None:
            blocks = matrix_blocks(rows.x)
        else:
            blocks = store_blocks(rows.store, rows.labelled.rows, layer=rows.layer, unit=True, often=True)
        blocks = told(blocks, len(rows.labelled.rows), self.name, self.progress)
        return streamed.fit(self.name, blocks, rows.problem, fold, balanced=self.balanced, seed=self.seed)


@dataclass(frozen=True)
class CrossValidated:
    """Answers on rows that a head was not trained on.

    Attributes:
        answers: float32 [n, outputs].
        scale: of the calibration, for the head of all rows; 1 where there is none.
        pipeline: the head of all rows, where it came along.
    """

    answers: np.ndarray
    scale: float
    pipeline: Any | None


def answers_in_blocks(pipeline: Any, rows: Vectors, scale: float = 1.0) -> np.ndarray:
    """Return float32 [n, outputs]: a fitted pipeline's answers for rows, read block by block."""
    found = np.empty((len(rows.labelled.rows), len(rows.problem.names)), np.float32)
    for x, at in store_blocks(rows.store, rows.labelled.rows, layer=rows.layer)():
        given = all_answers(pipeline, x, rows.problem)
        found[at] = given if scale == 1.0 else sharpen(given, scale)
    return found


def _pipeline(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    return make_pipeline(Normalizer(), model)
