"""The program that trains by Keras: `python train_child.py JOB.json`. No part of the engine; it talks by files.

JOB.json holds what fxengine.train.finetune writes. Into its `folder` go, by the names of layout.py, the checkpoint
(after every epoch), the progress, the outputs (answers on the rows to select and to report on, and the trained head),
and what keras_child.py leaves.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # read when Keras is imported

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from fxengine.backbones.children.keras_child import Net

# By its path: the folder must not be searched for modules.
loaded = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("training.py")))).loaded
HERE = Path(__file__).parent
training = loaded(HERE / "training.py")
keras_child = loaded(HERE.parents[1] / "backbones" / "children" / "keras_child.py")
rows, changes, nets_child, texts_child, keras_inputs, keras_loop = (
    loaded(HERE / f"{name}.py")
    for name in ("rows", "changes", "nets_child", "texts_child", "keras_inputs", "keras_loop")
)
layout = training.layout

Job = dict[str, Any]
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Refused = keras_child.Refused


def main(path: Path) -> None:
    """Train and export, or draw samples; an error is left in words."""
    order = json.loads(path.read_text())
    folder = Path(order["folder"])
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    refused = (Refused, training.Refused)
    keras_child.answer_file.leave_answer(
        folder / keras_child.layout.ANSWER, lambda tried: run(order, folder, tried), refused
    )


def run(order: Job, folder: Path, tried: list[str]) -> Job:
    """Do the whole job."""
    reproducible(order["net"]["kind"])
    if order["net"]["kind"] == texts_child.KIND:
        keras.utils.set_random_seed(order["settings"]["seed"])
        return run_texts(order, folder)
    data = rows.read_pictures(Path(order["data"]), layout, order["pixels"])
    if order.get("preview"):
        draw_samples(data, order["settings"], Path(order["preview"]))
        return {}
    sample = np.load(order["photos"])
    net = backbone(order["net"], sample)
    assert net.model is not None
    keras.utils.set_random_seed(order["settings"]["seed"])
    head = keras.layers.Dense(data.targets.shape[1], name="fx_head")
    unit = keras.layers.UnitNormalization(name="fx_unit")(net.model.output[keras_child.FEATURES])
    model = keras.Model(net.model.inputs, head(unit))
    weights, bias = rows.head_of(Path(order["data"]), layout)
    head.set_weights([weights.T, bias])
    names = [layer.name for layer in nets_child.with_weights(net.model.layers)]
    first = training.first_trained(names, order["settings"]["unfreeze"])
    trained = nets_child.train_from(net.model.layers, first)
    before = net.model.get_weights()
    loop = keras_loop.KerasLoop(model, data, keras_inputs.of_pictures(data), changing(data), training)
    state = training.train(loop, order, folder)
    np.savez(folder / layout.OUTPUTS, allow_pickle=False, **outputs(loop, head, state))
    photos = keras_child.crops(sample, *net.size)
    ready = np.asarray(keras_inputs.prepared(tf.constant(photos, tf.float32), order["pixels"]))
    changed = training.differ(before, net.model.get_weights())
    said = {"state": asdict(state), "trained": trained, "changed": changed}
    return {**keras_child.finish(net, photos, ready, folder, tried), **said}


def run_texts(order: Job, folder: Path) -> Job:
    """Train a net over word vectors; its weights are left instead of a file."""
    data = rows.read_texts(Path(order["data"]), layout)
    net = texts_child.build(order["net"], np.load(Path(order["data"]) / layout.TABLE), data.targets.shape[1])
    before = net.features.get_weights()
    inputs = keras_inputs.of_texts(data)
    loop = keras_loop.KerasLoop(net.model, data, inputs, lambda settings, epoch: None, training)
    state = training.train(loop, order, folder)
    left = {**outputs(loop, net.head, state), **net.weights(), **texts_child.samples(net, data)}
    np.savez(folder / layout.OUTPUTS, allow_pickle=False, **left)
    changed = training.differ(before, net.features.get_weights())
    return {"state": asdict(state), "trained": net.trained, "changed": changed}


def outputs(loop: Any, head: keras.Layer, state: Any) -> dict[str, np.ndarray]:
    """Return what is said of the rows to select and to report on, and the trained head."""
    weights, bias = head.get_weights()
    found: dict[str, np.ndarray] = training.outputs(loop, state, weights.T, bias)
    return found


def changing(data: Any) -> Callable[[Job, int], Change | None]:
    """Return what changes pictures in an epoch: the same in every run of a seed."""

    def change_of(settings: Job, epoch: int) -> Change | None:
        if not settings["augmentations"]:
            return None
        numbers = changes.drawn(len(data.split), settings["seed"], epoch)
        wanted = changes.changes(settings["augmentations"], numbers, data.images.shape[1:3])
        made: Change = keras_inputs.changing(wanted, changes.LEVELS, changes.LUMA)
        return made

    return change_of


def draw_samples(data: Any, settings: Job, path: Path) -> None:
    """Write the training pictures, each as it is and changed, uint8 [pictures, 6, height, width, 3]."""
    chosen = data.rows(training.TRAIN)
    plain = np.asarray(data.images[chosen], np.float32)
    shown = [plain]
    for change in (changing(data)(settings, epoch) for epoch in range(5)):
        shown.append(plain if change is None else np.asarray(change(tf.constant(plain), tf.constant(chosen))))
    np.save(path, np.stack(shown, axis=1).round().astype(np.uint8))


def reproducible(kind: str) -> None:
    """Let the processor add up in the same order always.

    A GPU lacks some operations then, and a SavedModel may hold random ones without a seed, which are refused then.
    """
    if kind != "savedmodel" and not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def backbone(job: Job, images: np.ndarray) -> Net:
    """Return the headless net as `keras_child` makes and cuts it; `images` are the photos that exports are tried on."""
    if job["kind"] == "lite0":
        with np.load(job["weights"]) as weights:
            size = job["height"], job["width"]
            model = nets_child.efficientnet_lite0(dict(weights), job["stages"], size)
        net: Net = keras_child.cut(model, {**job, "kind": "application"})
    elif job["kind"] == "savedmodel":
        net = saved_model(job)
    else:
        net = keras_child.cut(keras_child.model_of(job, images)[0], job)
    return net


def saved_model(job: Job) -> Net:
    """Return a SavedModel as a net of one layer, which trains whole or not at all."""
    net = keras_child.saved_model(job)
    inputs = keras.Input((*net.size, 3))
    try:
        given = keras.layers.TFSMLayer(job["what"], call_endpoint=net.endpoint, name="saved_model")(inputs)
    except (ValueError, AttributeError, TypeError) as error:
        raise Refused(f"its functions cannot be trained through: {str(error)[:300]}") from error
    tensor = given[net.cut] if isinstance(given, dict) else given
    model = keras.Model(inputs, {keras_child.FEATURES: keras_child.pooled(tensor, job["pooling"] or "avg")})
    if not model.trainable_variables:
        raise Refused("it holds no variable that can be trained: it was frozen when it was saved.")
    trained: Net = keras_child.Net(lambda pictures: model(pictures, training=False), net.size, net.cut, model)
    return trained


if __name__ == "__main__":
    main(Path(sys.argv[1]))
