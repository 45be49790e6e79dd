"""What a fine-tuning found out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fxengine.heads.evaluate.interval import Interval
from fxengine.probing.report import ProbeReport
from fxengine.train.gain import Gain


@dataclass(frozen=True)
class Side:
    """A score on the rows to select on and on those to report on."""

    validation: Interval
    test: Interval


@dataclass(frozen=True)
class FinetuneReport:
    """What was trained, and how good it is.

    Attributes:
        output: the backbone file.
        head: its head.
        run: folder of the run: its record, features, curves for TensorBoard.
        backbone: name of what was trained.
        space: fingerprint of the backbone file.
        kept: "tuned", or "probe" where the tuned net was not better by more than chance on the rows to select on: then
            `output` is the original backbone.
        why: what decided, in a sentence.
        gain: of the tuned net over the probe on the rows to select on.
        kind: what is predicted.
        metric: what the scores are.
        classes: names of what is predicted.
        rows: side -> how many.
        probe: of a head on the original backbone's features.
        tuned: of the tuned net.
        rate: learning rate.
        batch: rows a step.
        best_epoch: whose weights were kept; 0 is the beginning.
        history: of each epoch: train_loss, validation_loss, for classes validation_accuracy, seconds.
        trained_layers: how many layers were not frozen.
        differences: of the exported file to Keras.
        details: every score of what was kept, on the rows to report on.
        failed: rows that could not be decoded, or have no word that is known; they are in the run's features with a
            reason.
        seconds: in all.
        notes: how many labels of a file fit, of which words there are vectors, and what was left out, a sentence each.
        modality: what the rows are, "picture" or "text".
    """

    output: str
    head: str
    run: str
    backbone: str
    space: str
    kept: str
    why: str
    gain: Gain
    kind: str
    metric: str
    classes: tuple[str, ...]
    rows: dict[str, int]
    probe: Side
    tuned: Side
    rate: float
    batch: int
    best_epoch: int
    history: tuple[dict[str, float], ...]
    trained_layers: int
    differences: dict[str, float]
    details: ProbeReport
    failed: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    modality: str = "picture"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)
