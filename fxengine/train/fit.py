"""From photos to one model: extract, probe, fine-tune where that is worth a trial, bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fxengine.backbones import DEFAULT
from fxengine.backbones.options import ExportOptions
from fxengine.errors import InputError, above_zero, path_of
from fxengine.files import replacing
from fxengine.heads.evaluate.interval import Interval
from fxengine.pipeline.extract import extract
from fxengine.pipeline.plan import find_backbone
from fxengine.pipeline.summary import Progress
from fxengine.probing.bundle import Bundled, bundle
from fxengine.probing.probe import probe
from fxengine.train import layout
from fxengine.train.advise import advise
from fxengine.train.finetune import finetune
from fxengine.train.trainable import refuse_net_of_texts, refuse_texts


@dataclass(frozen=True)
class Step:
    """What a step did: its name, and what came out in a sentence."""

    name: str
    said: str


@dataclass(frozen=True)
class FitReport:
    """A model that was made, and the way there.

    Attributes:
        steps: in their order.
        target: the wanted score.
        score: of what was kept: the probe's is cross-validated, a tuned net's that of its test pictures.
        reached: whether its mean is the target or more.
        bundle: the model.
    """

    steps: tuple[Step, ...]
    target: float
    score: Interval
    reached: bool
    bundle: Bundled

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)


def fit(
    inputs: str | Path,
    output: str | Path,
    *,
    target: float = 0.95,
    backbone: str = DEFAULT,
    progress: Callable[[Progress], None] | None = None,
) -> FitReport:
    """Make a model that answers for pictures; what it is made of goes into a folder beside it (`.fit`).

    Args:
        inputs: a folder of pictures, a folder a class.
        output: the .onnx file to make.
        target: the wanted score.
        backbone: a name, KIND:WHAT or a file; nets of Keras and PyTorch, and the embedded one, can be fine-tuned.
        progress: called while pictures are embedded and while it trains.

    Raises:
        InputError, StoreError: as the steps do.
    """
    above_zero("target", target, 1)
    output = path_of("output", output)
    if output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    refuse_texts(path_of("inputs", inputs))
    folder, steps = output.with_suffix(layout.FIT), list[Step]()
    store, head, used = folder / layout.FEATURES, folder / layout.PROBE, backbone
    refuse_net_of_texts(find_backbone(backbone, ExportOptions(), store))
    done = extract(inputs, store, backbone=backbone, dtype="float32", prune=True, yes=True, progress=progress)
    if done.interrupted:
        raise KeyboardInterrupt
    failed = sum(done.failed.values())
    steps.append(Step("extract", f"{done.extracted} pictures embedded, {done.unchanged} known, {failed} failed."))
    found = probe(store, head)
    steps.append(Step("probe", " ".join([f"{found.metric.replace('_', ' ')} {found.score}.", *found.notes])))
    advice, score = advise(store, target=target), found.score
    steps.append(Step("advise", " ".join(advice.sentences()[1:])))
    if advice.finetune_pays:
        tuned = finetune(inputs, folder / layout.TUNED, backbone=backbone, force=True, progress=progress)
        words = "kept" if tuned.kept == "tuned" else "no better on the validation pictures: the probe is kept"
        steps.append(Step("finetune", f"test {tuned.metric.replace('_', ' ')} {tuned.tuned.test}; {words}."))
        if tuned.kept == "tuned":
            used, head, score = tuned.output, Path(tuned.head), tuned.tuned.test
    made = bundle(used, head, output, store=store if used == backbone else None)
    steps.append(Step("bundle", f"{output}, {made.bytes / 1e6:.1f} MB."))
    report = FitReport(tuple(steps), target, score, score.mean >= target, made)
    with replacing(folder / layout.REPORT) as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    return report
