"""Says what to do next: is the head enough, would more labels help, is fine-tuning worth a trial, what does it cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.errors import InputError, above_zero
from fxengine.features.read import FeatureStore
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.learning_curve import extrapolate, learning_curve
from fxengine.heads.evaluate.scores import assign_folds, deciding_score, out_of_fold
from fxengine.pipeline.embed import Backbone, embedding_rate
from fxengine.probing.probe import Probe, ProbeOptions
from fxengine.probing.targets import load_targets
from fxengine.probing.trainer import Trainer
from fxengine.probing.vectors import NEAR, load_vectors
from fxengine.train.options import FinetuneOptions
from fxengine.train.trainable import is_trainable

# More labels are said to help where twice as many are expected to bring this much.
_WORTH = 0.01
# A trial of fine-tuning is suggested where more than this share is wrong, with so many rows a class. A rule of thumb
# that says when a trial can be judged, not that it pays: where it was tried, nothing was gained (docs/finetune.md).
_ERROR, _ROWS_A_CLASS = 0.05, 20
# A training step of one picture in Keras, and looking at one to select, in times of embedding one by ONNX Runtime;
# roughly what EfficientNet-Lite0 took on two cores.
_STEP, _EVALUATION = 12.0, 2.0
_FOLDS = 5


@dataclass(frozen=True)
class Advice:
    """What the features of a store say about the next step.

    Attributes:
        metric: what the scores are.
        rows: labelled rows.
        score: of the probe, cross-validated.
        expected: (training rows, expected score) with as many labels, twice and four times as many.
        target: the wanted score, or None.
        enough: whether the head does.
        labels_help: whether twice the labels are expected to bring a point or more.
        finetune_pays: whether a trial of fine-tuning is suggested, by a rule of thumb that forecasts no gain.
        trainable: whether the backbone can be fine-tuned.
        seconds: what fine-tuning of the whole net is expected to take here, all epochs run; None where unknown.
        notes: how many labels of a file fit, and what was left out, a sentence each.
    """

    metric: str
    rows: int
    score: Interval
    expected: tuple[tuple[int, Interval], ...]
    target: float | None
    enough: bool
    labels_help: bool
    finetune_pays: bool
    trainable: bool
    seconds: float | None
    notes: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """Return the advice in a few sentences."""
        said = [f"The head on the features reaches {self.metric.replace('_', ' ')} {self.score} with {self.rows} rows."]
        if self.enough:
            wanted = "that is at most 1% from all right" if self.target is None else f"{self.target:.1%} was wanted"
            return [*said, f"It is enough: {wanted}."]
        if self.target is not None:
            said[0] += f" {self.target:.1%} was wanted."
        if self.expected:
            rows, score = self.expected[1]
            words = "would help" if self.labels_help else "would help little"
            said.append(f"More labels {words}: with {rows} training rows {score} is to be expected.")
        cost = "" if self.seconds is None else f" It would take about {_duration(self.seconds)} here."
        if self.finetune_pays:
            said.append(
                "Fine-tuning may be worth a trial: over 5% are wrong, and there are enough rows a class to tell. This "
                "is no forecast: in each of the four trials that this rule suggested on photos of flowers, objects and "
                f"pets, nothing was gained.{cost} What is no better is not kept."
            )
        elif not self.trainable:
            said.append(
                "This backbone cannot be fine-tuned: only Keras nets, efficientnet_lite0 and, for texts, nets over "
                "vectors:FILE can."
            )
        else:
            said.append(
                "A trial of fine-tuning is not suggested: little is wrong, or there are under 20 rows a class, too few "
                f"to tell.{cost}"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return the advice as JSON data."""
        return {**asdict(self), "sentences": self.sentences()}


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def advise(store: str | Path, *, labels: str | Path | None = None, target: float | None = None) -> Advice:
    """Return what to do next with a store's labels.

    Args:
        store: a feature store with labels.
        labels: as `fxengine.probing.targets.load_targets` takes them.
        target: the score that is wanted; unless given the head is enough where at most 1% can be gained.

    Raises:
        StoreError: there are no targets, or too few.
        InputError: the file of labels, or the target, cannot be used.
    """
    if target is not None:
        above_zero("target", target, 1)
    opened = FeatureStore.open(store)
    report = Probe.fit(opened, labels=labels, options=ProbeOptions(curve=True)).report()
    expected = tuple(report.curve.expected) if report.curve is not None else ()
    score = report.score
    enough = score.mean >= target if target is not None else score.high >= 0.99
    gain = expected[1][1].mean - score.mean if expected else 0.0
    trainable = is_trainable(opened.provenance.source)
    crowded = report.rows >= _ROWS_A_CLASS * max(1, len(report.per_class))
    pays = not enough and trainable and crowded and 1 - score.mean > _ERROR
    timed = trainable and opened.provenance.modality == "picture"  # what a net over word vectors takes is not known
    seconds = _cost(opened, report.rows) if timed else None
    return Advice(
        metric=report.metric,
        rows=report.rows,
        score=score,
        expected=expected,
        target=target,
        enough=enough,
        labels_help=not enough and gain >= _WORTH,
        finetune_pays=pays,
        trainable=trainable,
        seconds=seconds,
        notes=report.notes,
    )


def backtest(store: FeatureStore, seed: int) -> tuple[Interval, float]:
    """Return the score that half of the labels let expect with all of them, and the one that is then observed.

    Both are cross-validated in five folds, the second one on all rows and in other folds.
    """
    rows = load_vectors(store, load_targets(store), NEAR)
    assert rows.x is not None
    half = np.flatnonzero(assign_folds(rows.problem, 2, seed) == 0)
    trainer, some = Trainer("logistic"), rows.problem.take(half)
    curve = learning_curve(partial(trainer.make_for, some), rows.x[half], some, assign_folds(some, _FOLDS, seed), seed)
    expected = extrapolate(curve, round(len(rows.x) * (1 - 1 / _FOLDS)), seed)
    answers = out_of_fold(
        trainer.make(rows.problem), rows.x, rows.problem, assign_folds(rows.problem, _FOLDS, seed + 1)
    )
    return expected, deciding_score(rows.problem, answers)


def _cost(store: FeatureStore, rows: int) -> float | None:
    """Return the seconds that the default fine-tuning takes, by the time of a few pictures; None where unknown."""
    options = FinetuneOptions()
    try:
        backbone = Backbone.for_store(store.provenance, device="cpu")
    except InputError:
        return None
    each = 1 / embedding_rate(backbone)
    train = rows * (1 - options.validation - options.test)
    epochs = options.epochs + 3  # three rates are tried for one epoch each
    return each * epochs * (_STEP * train + _EVALUATION * rows * options.validation)
