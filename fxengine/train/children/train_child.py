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
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

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
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # where dataclasses look for theirs
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
keras_child = _load(HERE.parents[1] / "backbones" / "children" / "keras_child.py")
layout = _load(HERE.parent / "layout.py")
files = _load(HERE.parents[1] / "files.py")
nets_child = _load(HERE / "nets_child.py")
pictures_child = _load(HERE / "pictures_child.py")
texts_child = _load(HERE / "texts_child.py")
augment_child = _load(HERE / "augment_child.py")

Job = dict[str, Any]
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Refused = keras_child.Refused
ENGINE = os.getppid()
TRAIN, VALIDATION, TEST = 0, 1, 2
_WARM_UP = 0.1  # share of the steps in which the rate rises
_POOL = 32  # batches within which rows that are alike are brought together


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
    tried: int = 0  # epochs in which rates were tried
    diverged: int = 0  # the epoch in which the loss was no finite number
    notes: list[str] = field(default_factory=list)  # for people, a sentence each


Checkpoint = tuple[State, list[np.ndarray], list[np.ndarray], list[np.ndarray]]
DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


class Data(Protocol):
    """What is learned: `Pictures` or `Texts`. `targets` is float32 [n, outputs]: one-hot classes, labels of 0 and 1, or
    numbers.
    """

    targets: np.ndarray
    split: np.ndarray
    weight: np.ndarray
    kind: str

    def rows(self, side: int) -> np.ndarray:
        """Return the rows of one side."""

    def alike(self, rows: np.ndarray) -> np.ndarray:
        """Return places of these rows in an order in which those that are quick to compute at once are neighbours."""

    def inputs(self, rows: tf.Tensor, change: Change | None) -> tf.Tensor:
        """Return some rows as the net takes them, changed where they are to be."""


def main(path: Path) -> None:
    """Train and export, or draw samples; an error is left in words."""
    order = json.loads(path.read_text())
    folder = Path(order["folder"])
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    keras_child.leave_answer(folder, lambda tried: run(order, folder, tried))


def run(order: Job, folder: Path, tried: list[str]) -> Job:
    """Do the whole job."""
    reproducible(order["net"]["kind"])
    if order["net"]["kind"] == texts_child.KIND:
        keras.utils.set_random_seed(order["settings"]["seed"])
        return run_texts(order, folder)
    data = pictures_child.read(Path(order["data"]), layout, order["pixels"])
    if order.get("preview"):
        changes = [change_of(data, order["settings"], epoch) for epoch in range(5)]
        pictures_child.draw_samples(data, changes, Path(order["preview"]))
        return {}
    sample = np.load(order["photos"])
    net = backbone(order["net"], sample)
    assert net.model is not None
    keras.utils.set_random_seed(order["settings"]["seed"])
    head = keras.layers.Dense(data.targets.shape[1], name="fx_head")
    unit = keras.layers.UnitNormalization(name="fx_unit")(net.model.output[keras_child.FEATURES])
    model = keras.Model(net.model.inputs, head(unit))
    with np.load(Path(order["data"]) / layout.ARRAYS) as arrays:
        head.set_weights([arrays["head_weights"].T, arrays["head_bias"]])
    try:
        trained = nets_child.choose_trainable(net.model.layers, order["settings"]["unfreeze"])
    except ValueError as error:
        raise Refused(str(error)) from error
    before = net.model.get_weights()
    state = train(model, data, order, folder)
    np.savez(folder / layout.OUTPUTS, allow_pickle=False, **outputs(model, data, head, state))
    photos = keras_child.crops(sample, *net.size)
    ready = np.asarray(data.prepared(tf.constant(photos, tf.float32)))
    said = {"state": asdict(state), "trained": trained, "changed": differ(before, net.model.get_weights())}
    return {**keras_child.finish(net, photos, ready, folder, tried), **said}


def run_texts(order: Job, folder: Path) -> Job:
    """Train a net over word vectors; its weights are left instead of a file."""
    data = texts_child.read(Path(order["data"]), layout)
    net = texts_child.build(order["net"], np.load(Path(order["data"]) / layout.TABLE), data.targets.shape[1])
    before = net.features.get_weights()
    state = train(net.model, data, order, folder)
    left = {**outputs(net.model, data, net.head, state), **net.weights(), **texts_child.samples(net, data)}
    np.savez(folder / layout.OUTPUTS, allow_pickle=False, **left)
    changed = differ(before, net.features.get_weights())
    return {"state": asdict(state), "trained": net.trained, "changed": changed}


def reproducible(kind: str) -> None:
    """Let the processor add up in the same order always.

    A GPU lacks some operations then, and a SavedModel may hold random ones without a seed, which are refused then.
    """
    if kind != "savedmodel" and not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def differ(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    """Tell whether any weight is another."""
    return not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def outputs(model: keras.Model, data: Data, head: keras.Layer, state: State) -> dict[str, np.ndarray]:
    """Return what is said of the rows to select and to report on, and the trained head."""
    rows = np.concatenate([data.rows(VALIDATION), data.rows(TEST)])
    weights, bias = head.get_weights()
    logits = answers(model, data, rows, state.batch)
    if not np.isfinite(logits).all():
        raise Refused("the trained net's answers are no finite numbers: give a lower `rate`.")
    return {"rows": rows, "logits": logits, "head_weights": weights.T, "head_bias": bias}


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


def batches(data: Data, rows: np.ndarray, batch: int, change: Change | None = None) -> tf.data.Dataset:
    """Return a tf.data pipeline of (inputs, targets, weights), in the order of `rows`."""

    def read(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return data.inputs(chosen, change), tf.gather(targets, chosen), tf.gather(weight, chosen)

    targets, weight = tf.constant(data.targets), tf.constant(data.weight)
    parts = tf.data.Dataset.from_tensor_slices(rows).batch(batch)
    return parts.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def answers(model: keras.Model, data: Data, rows: np.ndarray, batch: int) -> np.ndarray:
    """Return the logits of rows, float32 [rows, outputs]."""
    order = data.alike(rows)
    found = model.predict(batches(data, rows[order], batch).map(lambda x, y, w: x), verbose=0)
    return np.asarray(found[np.argsort(order)], np.float32)


def train(model: keras.Model, data: Data, order: Job, folder: Path) -> State:
    """Train from the last checkpoint on; leave the model with the best weights."""
    settings = order["settings"]
    tried = 0 if settings["rate"] else len(order["rates"])
    order = {**order, "all_epochs": tried + settings["epochs"]}
    initial = model.get_weights()
    saved = read_checkpoint(folder / layout.CHECKPOINT)
    if saved is None:
        state = State(settings["rate"] or choose_rate(model, data, order, folder), settings["batch"], tried=tried)
        model.set_weights(initial)
        state.best_loss = validation(model, data, state.batch)["validation_loss"]
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
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            state.diverged = state.epoch + 1
            break
        state.epoch += 1
        state.history.append(row)
        if row["validation_loss"] < state.best_loss:
            state.best_epoch, state.best_loss, best = state.epoch, row["validation_loss"], model.get_weights()
        write_checkpoint(folder / layout.CHECKPOINT, state, model, best)
        log(order["tensorboard"], state.epoch, row)
        say(folder, {"epoch": state.epoch, "epochs": settings["epochs"], **row})
    if state.diverged and not state.best_epoch:
        (folder / layout.CHECKPOINT).unlink(missing_ok=True)  # else another rate would be that of another run
        raise Refused(
            f"the loss of epoch {state.diverged} is no finite number at the rate {state.rate:g}, and no epoch before "
            "did better than the beginning, so nothing is kept: give a lower `rate`."
        )
    model.set_weights(best)
    return state


def one_epoch(model: keras.Model, data: Data, order: Job, folder: Path, state: State) -> dict[str, float]:
    """Train on every row once; return what is known after it."""
    settings, begin = order["settings"], time.perf_counter()
    rows = mixed(data, state.batch, np.random.default_rng([settings["seed"], state.epoch]))
    change = change_of(data, settings, state.epoch) if settings["augmentations"] else None
    inputs = batches(data, rows, state.batch, change)
    reseed(model, settings["seed"], state.epoch)
    steps = -(-len(rows) // state.batch)
    done = {"step": 0, "said": 0.0}

    def tell(batch: int, logs: object = None) -> None:
        done["step"] += 1
        if time.monotonic() - done["said"] > 1:
            done["said"] = time.monotonic()
            said = (state.tried + state.epoch) * steps + done["step"]
            say(folder, {"steps": said, "of": order["all_epochs"] * steps, "at": done["said"]})

    watch = [keras.callbacks.LambdaCallback(on_train_batch_end=tell), keras.callbacks.TerminateOnNaN()]
    loss = model.fit(inputs, epochs=1, verbose=0, callbacks=watch).history["loss"][0]
    row = {"train_loss": float(loss), **validation(model, data, state.batch)}
    return {**row, "seconds": round(time.perf_counter() - begin, 2)}


def change_of(data: Data, settings: Job, epoch: int) -> Change:
    """Return what changes pictures in an epoch: the same in every run of this seed."""
    numbers = augment_child.drawn(len(data.split), settings["seed"], epoch)
    made: Change = augment_child.augmenter(settings["augmentations"], numbers)
    return made


def mixed(data: Data, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows to train on in random order, those of a batch being alike where that makes them quick."""
    rows = rng.permutation(data.rows(TRAIN))
    pools = [rows[i : i + batch * _POOL] for i in range(0, len(rows), batch * _POOL)]
    ordered = np.concatenate([pool[data.alike(pool)] for pool in pools])
    whole = len(ordered) // batch * batch
    parts = rng.permutation(ordered[:whole].reshape(-1, batch))
    return np.concatenate([parts.ravel(), ordered[whole:]])


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Begin the random numbers of every layer anew, so that a training that goes on has those of a whole one."""
    states = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for i, variable in enumerate(states):
        variable.assign(np.random.default_rng([seed, epoch, i]).integers(0, 2**32, 2, np.uint32))


def validation(model: keras.Model, data: Data, batch: int) -> dict[str, float]:
    """Return loss and, for classes, accuracy on the rows to select on."""
    rows = data.rows(VALIDATION)
    z, y = answers(model, data, rows, batch).astype(np.float64), data.targets[rows]
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
    for tried, rate in enumerate(order["rates"]):
        model.set_weights(initial)
        state = State(rate, settings["batch"], tried=tried)
        compiled(model, data, settings, state)
        try:
            row = one_epoch(model, data, {**order, "settings": settings}, folder, state)
        except tf.errors.ResourceExhaustedError:
            break  # the training itself halves the batch
        losses[rate] = row["validation_loss"] if np.isfinite(row["validation_loss"]) else float("inf")
        say(folder, {"tried_rate": rate, **row})
    return min(losses, key=lambda rate: losses[rate]) if losses else float(order["rates"][1])


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
        raise Refused(f"the memory does not hold one row: {str(error)[:200]}") from error
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
            keep_before(path)
    except OSError as error:
        raise Refused(
            f"the checkpoint after epoch {state.epoch} could not be written to {path.parent} ({error.strerror}); the "
            "one before it is kept. Make room and give the same command again."
        ) from error


def keep_before(path: Path) -> None:
    """Give the checkpoint that is there a second name: a disk may spoil the one that takes its place."""
    before = path.with_name(layout.BEFORE)
    before.unlink(missing_ok=True)
    with suppress(OSError):  # there is none, or the file system has no second names
        os.link(path, before)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the last checkpoint that is whole; None where there is none yet."""
    if not path.is_file():
        return None
    before = path.with_name(layout.BEFORE)
    try:
        return whole_checkpoint(path)
    except DAMAGE as error:
        said = f"the checkpoint {path} is damaged ({type(error).__name__}: {error})"
        try:
            found = whole_checkpoint(before)
        except DAMAGE:
            raise Refused(f"{said}. Delete it to begin anew.") from error
    before.replace(path)
    said = f"{said[0].upper()}{said[1:]}: training went on from the one before, of epoch {found[0].epoch}."
    found[0].notes.append(said)
    return found


def whole_checkpoint(path: Path) -> Checkpoint:
    """Return state, weights, best weights and the optimizer's variables; raises one of `DAMAGE`."""
    with np.load(path) as arrays:
        state = State(**json.loads(str(arrays["state"])))
        groups = [[arrays[f"{name}{i}"] for i in range(sum(key.startswith(name) for key in arrays))]
                  for name in ("weight", "best", "optimizer")]  # fmt: skip
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
