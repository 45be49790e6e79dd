"""The program that trains: `python train_child.py JOB.json`. No part of the engine; it talks by files.

JOB.json holds what fxengine.train.finetune writes. Into its `folder` go, by the names of layout.py, the checkpoint
(after every epoch), the progress, the outputs (answers on the rows to select and to report on, and the trained head),
and what keras_child.py leaves.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # read when Keras is imported

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from fxengine.backbones.children.keras_child import Net


def _load(path: Path) -> ModuleType:
    """Import a file beside this one by its path: its folder must not be searched for modules."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
keras_child = _load(HERE.parents[1] / "backbones" / "children" / "keras_child.py")
layout = _load(HERE.parent / "layout.py")
files = _load(HERE.parents[1] / "files.py")
nets_child = _load(HERE / "nets_child.py")
augment_child = _load(HERE / "augment_child.py")

Job = dict[str, Any]
Refused = keras_child.Refused
ENGINE = os.getppid()
RATES = (1e-5, 1e-4, 1e-3)
TRAIN, VALIDATION, TEST = 0, 1, 2
_WARM_UP = 0.1  # share of the steps in which the rate rises


@dataclass
class State:
    """How far the training is; all of it is in the checkpoint."""

    rate: float
    batch: int
    accumulate: int = 1
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Data:
    """Pictures of the input size, uint8 [n, height, width, 3] mapped from disk, and what to learn of them.

    `targets` is float32 [n, outputs]: one-hot classes, labels of 0 and 1, or numbers.
    """

    images: np.ndarray
    targets: np.ndarray
    split: np.ndarray
    weight: np.ndarray
    kind: str

    def rows(self, side: int) -> np.ndarray:
        """Return the rows of one side."""
        return np.flatnonzero(self.split == side)


def main(path: Path) -> None:
    """Train and export, or draw samples; an error is left in words."""
    order = json.loads(path.read_text())
    folder, tried = Path(order["folder"]), list[str]()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    try:
        answer = {"ok": True, **run(order, folder, tried)}
    except Refused as error:
        answer = {"ok": False, "refused": str(error)}
    except Exception as error:
        traceback.print_exc()
        answer = {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
    (folder / keras_child.layout.ANSWER).write_text(json.dumps({**answer, "tried": tried}))


def run(order: Job, folder: Path, tried: list[str]) -> Job:
    """Do the whole job."""
    settings = order["settings"]
    keras.utils.set_random_seed(settings["seed"])
    data = read_data(Path(order["data"]))
    if order.get("preview"):
        return draw_samples(data, settings, Path(order["preview"]))
    net = backbone(order["net"])
    assert net.model is not None
    head = keras.layers.Dense(data.targets.shape[1], name="fx_head")
    unit = keras.layers.UnitNormalization(name="fx_unit")(net.model.output[keras_child.FEATURES])
    model = keras.Model(net.model.inputs, head(unit))
    with np.load(Path(order["data"]) / layout.ARRAYS) as arrays:
        head.set_weights([arrays["head_weights"].T, arrays["head_bias"]])
    try:
        trained = nets_child.choose_trainable(net.model.layers, settings["unfreeze"])
    except ValueError as error:
        raise Refused(str(error)) from error
    state = train(model, data, order, folder)
    rows = np.concatenate([data.rows(VALIDATION), data.rows(TEST)])
    logits = answers(model, data, order, rows, state.batch)
    weights, bias = head.get_weights()
    np.savez(folder / layout.OUTPUTS, rows=rows, logits=logits, head_weights=weights.T, head_bias=bias)
    photos = keras_child.crops(np.load(order["photos"]), *net.size)
    ready = np.asarray(prepared(order["pixels"], tf.constant(photos, tf.float32)))
    return {**keras_child.finish(net, photos, ready, folder, tried), "state": asdict(state), "trained": trained}


def backbone(job: Job) -> Net:
    """Return the headless net as `keras_child` cuts it."""
    if job["kind"] == "lite0":
        with np.load(job["weights"]) as weights:
            size = job["height"], job["width"]
            model = nets_child.efficientnet_lite0(dict(weights), job["stages"], size)
        net: Net = keras_child.cut(model, {**job, "kind": "application"})
    elif job["kind"] == "savedmodel":
        net = saved_model(job)
    else:
        make = keras_child.application if job["kind"] == "application" else keras_child.own_model
        net = keras_child.cut(make(job), job)
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


def read_data(folder: Path) -> Data:
    """Return the data that the engine prepared."""
    images = np.load(folder / layout.IMAGES, mmap_mode="r")
    with np.load(folder / layout.ARRAYS) as arrays:
        targets, split, weight = (arrays[name] for name in ("targets", "split", "weight"))
        return Data(images, targets, split, weight, str(arrays["kind"]))


def prepared(pixels: Job, pictures: tf.Tensor) -> tf.Tensor:
    """Return pictures as the net takes them, from 0 to 255 in RGB."""
    pictures = pictures[..., ::-1] if pixels["bgr"] else pictures
    return (pictures - tf.constant(pixels["mean"], tf.float32)) / tf.constant(pixels["std"], tf.float32)


def batches(
    data: Data, order: Job, rows: np.ndarray, batch: int, change: Callable[[tf.Tensor], tf.Tensor] | None = None
) -> tf.data.Dataset:
    """Return a tf.data pipeline of (pictures, targets, weights), in the order of `rows`."""
    shape = (None, *data.images.shape[1:])

    def read(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        found = tf.numpy_function(lambda i: data.images[i], [chosen], tf.uint8)
        pictures = tf.cast(tf.ensure_shape(found, shape), tf.float32)
        pictures = pictures if change is None else change(pictures)
        return prepared(order["pixels"], pictures), tf.gather(targets, chosen), tf.gather(weight, chosen)

    targets, weight = tf.constant(data.targets), tf.constant(data.weight)
    parts = tf.data.Dataset.from_tensor_slices(rows).batch(batch)
    return parts.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def answers(model: keras.Model, data: Data, order: Job, rows: np.ndarray, batch: int) -> np.ndarray:
    """Return the logits of rows, float32 [rows, outputs]."""
    pictures = batches(data, order, rows, batch).map(lambda x, y, w: x)
    return np.asarray(model.predict(pictures, verbose=0), np.float32)


def draw_samples(data: Data, settings: Job, path: Path) -> Job:
    """Write the first training pictures, each with five random changes, uint8 [pictures, 6, height, width, 3]."""
    change = augment_child.augmenter(settings["augmentations"], settings["seed"])
    plain = np.asarray(data.images[data.rows(TRAIN)[:6]], np.float32)
    shown = [plain, *(np.asarray(change(tf.constant(plain))) for _ in range(5))]
    np.save(path, np.stack(shown, axis=1).round().astype(np.uint8))
    return {}


def train(model: keras.Model, data: Data, order: Job, folder: Path) -> State:
    """Train from the last checkpoint on; leave the model with the best weights."""
    settings = order["settings"]
    initial = model.get_weights()
    saved = read_checkpoint(folder / layout.CHECKPOINT)
    if saved is None:
        state = State(settings["rate"] or choose_rate(model, data, order, folder), settings["batch"])
        model.set_weights(initial)
        state.best_loss = validation(model, data, order, state.batch)["validation_loss"]
        best = initial
        compiled(model, data, settings, state)
    else:
        state, weights, best, variables = saved
        compiled(model, data, settings, state)
        model.set_weights(weights)
        restore_optimizer(model.optimizer, variables)
    while state.epoch < settings["epochs"] and state.epoch - state.best_epoch < settings["patience"]:
        if os.getppid() != ENGINE:
            raise SystemExit("the engine is gone")
        before = model.get_weights()
        try:
            row = one_epoch(model, data, order, folder, state)
        except tf.errors.ResourceExhaustedError as error:
            halve(state, error)
            model.set_weights(before)
            compiled(model, data, settings, state)
            continue
        state.epoch += 1
        state.history.append(row)
        if row["validation_loss"] < state.best_loss:
            state.best_epoch, state.best_loss, best = state.epoch, row["validation_loss"], model.get_weights()
        write_checkpoint(folder / layout.CHECKPOINT, state, model, best)
        log(order["tensorboard"], state.epoch, row)
        say(folder, {"epoch": state.epoch, "epochs": settings["epochs"], **row})
    model.set_weights(best)
    return state


def one_epoch(model: keras.Model, data: Data, order: Job, folder: Path, state: State) -> dict[str, float]:
    """Train on every row once; return what is known after it."""
    settings, begin = order["settings"], time.perf_counter()
    rows = np.random.default_rng([settings["seed"], state.epoch]).permutation(data.rows(TRAIN))
    change = augment_child.augmenter(settings["augmentations"], settings["seed"] + state.epoch)
    pictures = batches(data, order, rows, state.batch, change)
    steps = -(-len(rows) // state.batch)
    done = {"step": 0, "said": 0.0}

    def tell(batch: int, logs: object = None) -> None:
        done["step"] += 1
        if time.monotonic() - done["said"] > 1:
            done["said"] = time.monotonic()
            say(folder, {"steps": state.epoch * steps + done["step"], "of": settings["epochs"] * steps})

    watch = keras.callbacks.LambdaCallback(on_train_batch_end=tell)
    loss = model.fit(pictures, epochs=1, verbose=0, callbacks=[watch]).history["loss"][0]
    row = {"train_loss": float(loss), **validation(model, data, order, state.batch)}
    return {**row, "seconds": round(time.perf_counter() - begin, 2)}


def validation(model: keras.Model, data: Data, order: Job, batch: int) -> dict[str, float]:
    """Return loss and, for classes, accuracy on the rows to select on."""
    rows = data.rows(VALIDATION)
    z, y = answers(model, data, order, rows, batch).astype(np.float64), data.targets[rows]
    if data.kind == "numbers":
        return {"validation_loss": float(((z - y) ** 2).mean())}
    if data.kind == "labels":
        return {"validation_loss": float((np.logaddexp(0, z) - y * z).mean())}
    top = z.max(axis=1, keepdims=True)
    logs = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    right = (z.argmax(axis=1) == y.argmax(axis=1)).mean()
    return {"validation_loss": float(-(y * logs).sum(axis=1).mean()), "validation_accuracy": float(right)}


def choose_rate(model: keras.Model, data: Data, order: Job, folder: Path) -> float:
    """Return the rate with the lowest validation loss after one epoch each."""
    initial, losses = model.get_weights(), {}
    settings = {**order["settings"], "epochs": 1}
    for rate in RATES:
        model.set_weights(initial)
        state = State(rate, settings["batch"])
        compiled(model, data, settings, state)
        try:
            row = one_epoch(model, data, {**order, "settings": settings}, folder, state)
        except tf.errors.ResourceExhaustedError:
            break  # the training itself halves the batch
        losses[rate] = row["validation_loss"] if np.isfinite(row["validation_loss"]) else float("inf")
        say(folder, {"tried_rate": rate, **row})
    return min(losses, key=lambda rate: losses[rate]) if losses else RATES[1]


def compiled(model: keras.Model, data: Data, settings: Job, state: State) -> None:
    """Give the model a fresh optimizer and its loss; the rate rises at first, then falls as a cosine."""
    steps = settings["epochs"] * -(-int((data.split == TRAIN).sum()) // state.batch)
    warm = max(1, round(_WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        state.rate / 100, max(1, steps - warm), alpha=0.01, warmup_target=state.rate, warmup_steps=warm
    )
    more = {"gradient_accumulation_steps": state.accumulate} if state.accumulate > 1 else {}
    make: Callable[[], keras.optimizers.Optimizer] = {
        "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=1e-4, **more),
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **more),
        "rmsprop": lambda: keras.optimizers.RMSprop(rate, **more),
    }[settings["optimizer"]]
    smoothing = settings["label_smoothing"]
    loss: Callable[[], keras.Loss] = {
        "classes": lambda: keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing),
        "labels": lambda: keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing),
        "numbers": keras.losses.MeanSquaredError,
    }[data.kind]
    model.compile(optimizer=make(), loss=loss(), jit_compile=False)  # XLA compiles for minutes on a processor
    model.optimizer.build(model.trainable_variables)


def halve(state: State, error: Exception) -> None:
    """Halve the batch and sum up twice as many gradients."""
    if state.batch == 1:
        raise Refused(f"the memory does not hold one picture: {str(error)[:200]}") from error
    state.batch, state.accumulate = state.batch // 2, state.accumulate * 2


def write_checkpoint(path: Path, state: State, model: keras.Model, best: list[np.ndarray]) -> None:
    """Replace the checkpoint whole; the last good one stays where that fails."""
    groups = {
        "weight": model.get_weights(),
        "best": best,
        "optimizer": [np.asarray(v) for v in model.optimizer.variables],
    }
    arrays = {f"{name}{i}": value for name, values in groups.items() for i, value in enumerate(values)}
    try:
        with files.replacing(path) as temporary, temporary.open("wb") as file:  # savez puts .npz behind a name
            np.savez(file, allow_pickle=False, state=np.asarray(json.dumps(asdict(state))), **arrays)
    except OSError as error:
        raise Refused(
            f"the checkpoint after epoch {state.epoch} could not be written to {path.parent} ({error.strerror}); the "
            "one before it is kept. Make room and give the same command again."
        ) from error


def read_checkpoint(path: Path) -> tuple[State, list[np.ndarray], list[np.ndarray], list[np.ndarray]] | None:
    """Return state, weights, best weights and the optimizer's variables; None where there is no checkpoint."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as arrays:
            state = State(**json.loads(str(arrays["state"])))
            groups = [[arrays[f"{name}{i}"] for i in range(sum(key.startswith(name) for key in arrays))]
                      for name in ("weight", "best", "optimizer")]  # fmt: skip
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise Refused(
            f"the checkpoint {path} is damaged ({type(error).__name__}: {error}). Delete it to begin anew."
        ) from error
    return state, groups[0], groups[1], groups[2]


def restore_optimizer(optimizer: keras.optimizers.Optimizer, values: list[np.ndarray]) -> None:
    """Set the optimizer's variables."""
    for variable, value in zip(optimizer.variables, values, strict=True):
        variable.assign(value)


def say(folder: Path, words: Job) -> None:
    """Add a line to progress.jsonl."""
    with (folder / layout.PROGRESS).open("a") as file:
        file.write(json.dumps(words) + "\n")


def log(folder: str, epoch: int, row: dict[str, float]) -> None:
    """Write the numbers of an epoch for TensorBoard; tf.summary.scalar would want it installed."""
    writer = tf.summary.create_file_writer(folder)
    for name, value in row.items():
        tf.raw_ops.WriteScalarSummary(writer=writer._resource, step=epoch, tag=name, value=float(value))
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
