"""Trains a head on rows in memory or in streams, and gives its answers for rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fxengine.errors import InputError
from fxengine.features.blocks import Say, matrix_blocks, store_blocks, told
from fxengine.heads import NEEDS_TWO, HeadPipeline, HeadSettings, make_head
from fxengine.heads.evaluate.answers import Answers, put, room_for
from fxengine.heads.evaluate.calibration import calibrate, sharpen
from fxengine.heads.evaluate.scores import Problem, all_answers, out_of_fold
from fxengine.heads.streams import streamed
from fxengine.probing.vectors import Vectors


@dataclass(frozen=True)
class Trainer:
    """A head with its settings, to be trained on any rows.

    Attributes:
        name: a key of `fxengine.heads.HEADS`.
        settings: how to fit it.
        calibrate: whether to scale probabilities of classes by the temperature with the least log loss.
        progress: told how far it is, where rows are read in streams.
    """

    name: str
    settings: HeadSettings = field(default_factory=HeadSettings)
    calibrate: bool = False
    progress: Say | None = None

    def make(self, problem: Problem) -> Callable[[], HeadPipeline]:
        """Return what makes an unfitted pipeline."""
        rows = len(problem.y) // 2  # no fold leaves fewer
        return lambda: self.make_for(problem, rows)

    def make_for(self, problem: Problem, rows: int) -> HeadPipeline:
        """Return an unfitted pipeline for so many rows."""
        return make_head(self.name, problem.kind, self.settings, rows=rows)

    def cross_validate(self, rows: Vectors, fold: np.ndarray) -> CrossValidated:
        """Return the answers of every row by a head of the other folds.

        Args:
            rows: n of them.
            fold: int64 [n], from `assign_folds`.

        Raises:
            InputError: the head needs all vectors in memory, and they do not fit.
        """
        if self._streamed(rows):
            found, pipeline = self._stream(rows, fold)
            return CrossValidated(found.answers, found.scale, pipeline)
        assert rows.x is not None
        answers, scale = out_of_fold(self.make(rows.problem), rows.x, rows.problem, fold), 1.0
        if self.calibrate and rows.problem.kind == "classes":
            answers, scale = calibrate(answers, rows.problem.y, fold)
        return CrossValidated(answers, scale, None)

    def train(self, rows: Vectors, fold: np.ndarray) -> HeadPipeline:
        """Return the pipeline fitted to all rows.

        Args:
            rows: n of them.
            fold: int64 [n], for the choices inside a fit in streams.

        Raises:
            InputError: the head needs all vectors in memory, and they do not fit.
        """
        if self._streamed(rows):
            return self._stream(rows, fold)[1]
        assert rows.x is not None
        return self.make(rows.problem)().fit(rows.x, rows.problem.y)

    def _streamed(self, rows: Vectors) -> bool:
        """Whether to take the statistics' way: rows do not fit, or are many more than their numbers.

        Raises:
            InputError: a PCA is wanted before the head, and the rows do not fit: streams know none.
        """
        if rows.x is None:
            if self.settings.pca:
                raise InputError(
                    f"`pca` is fitted to rows in memory, and those of {rows.store.called} do not fit: reduce them "
                    f"beforehand by `fxengine pca {rows.store.called} --dim {self.settings.pca} -o pca.onnx --reduced "
                    "STORE`, and probe that store."
                )
            return True
        return self.name == "ridge" and not self.settings.pca and len(rows.x) > 2 * rows.dim

    def _stream(self, rows: Vectors, fold: np.ndarray) -> tuple[streamed.Streamed, HeadPipeline]:
        """Return what was fitted in streams, and its pipeline."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        if rows.x is not None:
            blocks = matrix_blocks(rows.x)
        else:
            blocks = store_blocks(rows.store, rows.labelled.rows, layer=rows.layer, unit=True, often=True)
        blocks = told(blocks, len(rows.labelled.rows), self.name, self.progress)
        balanced, seed = self.settings.balanced, self.settings.seed
        found = streamed.fit(
            self.name,
            blocks,
            rows.problem,
            fold,
            balanced=balanced,
            calibrated=self.calibrate,
            seed=seed,
            progress=self.progress,
        )
        return found, make_pipeline(Normalizer(), found.estimator)


@dataclass(frozen=True)
class CrossValidated:
    """Answers on rows that a head was not trained on.

    Attributes:
        answers: of n rows.
        scale: of the calibration, for the head of all rows; 1 where there is none.
        pipeline: the head of all rows, where it came along.
    """

    answers: Answers
    scale: float
    pipeline: HeadPipeline | None


def check_pca(components: int, rows: Vectors, fold: np.ndarray, curve: int | None) -> None:
    """Raise InputError where some rows that a head is fitted to are fewer than the components asked for.

    Args:
        components: of the PCA before the head.
        rows: n of them.
        fold: int64 [n], from `assign_folds`.
        curve: rows at most of a learning curve, or None where there is none.
    """
    fewest, where = len(fold) - int(np.bincount(fold).max()), "without one of the folds"
    if curve is not None:
        fewest, where = min(fewest, curve // 2) // 10, "at the first point of the `curve`"
    most = min(rows.dim, fewest)
    if components > most:
        raise InputError(
            f"`pca` must be at most {most}: {fewest} rows of {rows.dim} numbers are left {where}. Got {components}."
        )


def can_fit(name: str, problem: Problem, fold: np.ndarray) -> bool:
    """Tell whether every fold, int64 [n], leaves as many rows as a head needs."""
    fewest = len(fold) - int(np.bincount(fold).max())
    return name not in NEEDS_TWO or fewest > len(problem.names)


def answers_in_blocks(pipeline: HeadPipeline, rows: Vectors, scale: float = 1.0) -> Answers:
    """Return a fitted pipeline's answers for rows, which are read block by block.

    Args:
        pipeline: fitted to the classes, labels or targets of these rows.
        rows: n of them.
        scale: of the probabilities' logarithms; 1 leaves them as they are.
    """
    found = room_for(len(rows.labelled.rows), len(rows.problem.names))
    for x, at in store_blocks(rows.store, rows.labelled.rows, layer=rows.layer)():
        given = all_answers(pipeline, x, rows.problem)
        put(found, at, given if scale == 1.0 else sharpen(given, scale), rows.problem.y)
    return found
