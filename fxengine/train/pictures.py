"""Trains a net of pictures: pictures at the input size -> the training process -> a file, compared with its net."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx

from fxengine.backbones.children.photo_crops import crops
from fxengine.backbones.graph.run import run_model
from fxengine.backbones.sources.compared import check_export
from fxengine.backbones.sources.feature_check import sample_photos
from fxengine.backbones.spec import FEATURE_OUTPUT
from fxengine.train import layout
from fxengine.train.data import TrainingData, with_weights, write_training_data
from fxengine.train.options import FinetuneOptions, augmentations
from fxengine.train.room import written_to
from fxengine.train.trainable import Trainable
from fxengine.train.tuned import Tuned, Watch, framework_of, run_training

_RATES = (1e-5, 1e-4, 1e-3)  # that are tried; the net is trained already


def train_pictures(work: Path, net: Trainable, data: TrainingData, options: FinetuneOptions, progress: Watch) -> Tuned:
    """Run the training process to its end.

    Args:
        work: a folder for what passes to and from it.
        net: what is trained.
        data: the pictures.
        options: how.
        progress: told the steps.

    Raises:
        StoreError: a picture cannot be decoded any more.
        InputError: the training failed, or the exported file does not compute what the framework does.
    """
    write_training_data(data, net.preparation.recipe, options, work)
    recipe, photos = net.preparation.recipe, sample_photos()
    before = run_model(onnx.load(net.file.path), crops(photos, recipe.height, recipe.width))[FEATURE_OUTPUT]
    with written_to(work):
        np.save(work / layout.PHOTOS, photos)
        np.save(work / layout.EXPECTED, before)
    order = {
        "net": net.job,
        "pixels": net.pixels,
        "photos": str((work / layout.PHOTOS).absolute()),
        "rates": _RATES,
        "settings": {**asdict(options), "augmentations": augmentations(options.augment)},
    }
    old = net.file.facts
    answer, outputs = run_training(old.name, work, order, progress, net.kind)
    checked = check_export(old.name, net.preparation, work, framework_of(net.kind))
    facts = replace(
        old,
        dim=checked.dims[FEATURE_OUTPUT],
        cut=answer["cut"],
        parameters=checked.report.parameters,
        multiply_adds=checked.report.multiply_adds,
        notes={"export": checked.report.to_dict()},
    )
    return Tuned(
        model=checked.model,
        facts=facts,
        head=with_weights(data.head, *data.scale.to_answer(outputs["head_weights"], outputs["head_bias"])),
        rows=outputs["rows"],
        logits=data.scale.answers(outputs["logits"]),
        state=answer["state"],
        trained=answer["trained"],
        changed=answer["changed"],
        differences=checked.report.differences,
    )
