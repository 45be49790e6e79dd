"""Stands in for train_child.py: tries its parts on a tiny net, then does the job; so the tests load TensorFlow once."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).resolve().parents[2] / "fxengine" / "train" / "children" / "train_child.py"
spec: Any = importlib.util.spec_from_file_location("train_child", HERE)
train_child: Any = importlib.util.module_from_spec(spec)
sys.modules["train_child"] = train_child
spec.loader.exec_module(train_child)
training = train_child.training

PIXELS = {"mean": [127.5] * 3, "std": [127.5] * 3, "bgr": False}
RATES = (1e-5, 1e-4, 1e-3)
SETTINGS = {
    "seed": 3, "rate": 1e-2, "batch": 8, "epochs": 3, "patience": 3, "optimizer": "adamw", "label_smoothing": 0.0,
    "augmentations": [], "unfreeze": "all",
}  # fmt: skip


def tiny() -> Any:
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(6, 3, name="first")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Conv2D(6, 3, name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def some_data() -> Any:
    rng = np.random.default_rng(0)
    y = np.arange(36) % 2
    images = rng.integers(0, 200, (36, 12, 12, 3)).astype(np.uint8) + (y[:, None, None, None] * 40).astype(np.uint8)
    split = np.repeat([0, 1, 2], 12)
    targets, weight = np.eye(2, dtype=np.float32)[y], np.ones(36, np.float32)
    return train_child.rows.Pictures(images, targets, split, weight, "classes", PIXELS)


def loop_of(model: Any, data: Any) -> Any:
    inputs = train_child.keras_inputs.of_pictures(data)
    return train_child.keras_loop.KerasLoop(model, data, inputs, train_child.changing(data), training)


def trained(folder: Path, **changes: Any) -> tuple[Any, Any]:
    model = tiny()
    train_child.nets_child.train_from(model.layers, 0)
    order = {"settings": {**SETTINGS, **changes}, "rates": RATES, "tensorboard": str(folder / "tensorboard")}
    return model, training.train(loop_of(model, some_data()), order, folder)


def distance(a: Any, b: Any) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def resume(folder: Path) -> dict[str, Any]:
    """Stop after the second epoch; the second call ends with the weights of an uninterrupted run."""
    whole, state = trained(folder / "whole")
    say, stopped = training.say, folder / "stopped"

    def stop(where: Path, words: dict[str, Any]) -> None:
        if words.get("epoch") == 2:
            raise KeyboardInterrupt
        say(where, words)

    training.say = stop
    with suppress(KeyboardInterrupt):
        trained(stopped)
    training.say = say
    saved = training.read_checkpoint(stopped / "checkpoint.npz")
    shutil.copytree(stopped, folder / "cut")
    again, resumed = trained(stopped)
    norm = whole.get_layer("norm")
    return {
        "stopped_after": saved[0].epoch,
        "epochs": resumed.epoch,
        "distance": distance(whole, again),
        "same_history": np.allclose(
            [row["validation_loss"] for row in state.history], [row["validation_loss"] for row in resumed.history]
        ),
        "moved": distance(whole, tiny()),
        "cut": cut(folder / "cut", whole),
        "norm_frozen": bool(np.all(np.asarray(norm.moving_mean) == 0) and np.all(np.asarray(norm.gamma) == 1)),
    }


def cut(folder: Path, whole: Any) -> dict[str, Any]:
    """Cut the last checkpoint: training goes on from the one before it, and ends as a whole run."""
    path = folder / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-100])
    before = training.whole_checkpoint(folder / "checkpoint.before.npz")[0].epoch
    again, state = trained(folder)
    notes = [note.replace(str(path), "PATH") for note in state.notes]
    return {"before": before, "epochs": state.epoch, "distance": distance(whole, again), "notes": notes}


def memory(folder: Path) -> dict[str, Any]:
    """Run out of memory once; the batch is halved and gradients are summed up."""
    one_epoch, calls = training.one_epoch, []

    def fail(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise tf.errors.ResourceExhaustedError(None, None, "no memory")
        return one_epoch(*arguments)

    training.one_epoch = fail
    model, state = trained(folder, epochs=2)
    training.one_epoch = one_epoch
    return {"batch": state.batch, "accumulate": state.accumulate, "steps": model.optimizer.gradient_accumulation_steps}


def disk(folder: Path) -> dict[str, Any]:
    """Fill the disk at the second checkpoint; the first one stays whole."""
    numpy: Any = np
    savez, calls = np.savez, []

    def fill(file: Any, **arrays: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        savez(file, **arrays)

    numpy.savez = fill
    try:
        trained(folder)
        words = ""
    except training.Refused as error:
        words = str(error)
    numpy.savez = savez
    kept = training.read_checkpoint(folder / "checkpoint.npz")
    files = sorted(p.name for p in folder.glob("*.npz"))
    return {"words": words, "kept": kept[0].epoch, "files": files, "answer": answer_on_a_full_disk(folder)}


def answer_on_a_full_disk(folder: Path) -> dict[str, Any]:
    """Return what is left where the weights cannot be written."""

    def do(tried: list[str]) -> Any:
        tried.append("saving")
        raise OSError(28, "No space left on device")

    train_child.keras_child.leave_answer(folder, do)
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return {**answer, "refused": answer["refused"].replace(str(folder), "FOLDER")}


def damage(folder: Path) -> dict[str, Any]:
    """Read checkpoints that are none, or of another version."""
    trained(folder, epochs=1)
    path = folder / "checkpoint.npz"
    whole = path.read_bytes()
    np.savez(folder / "other.npz", state=np.asarray('{"later": 1}'))
    other = (folder / "other.npz").read_bytes()
    found = {}
    for name, data in {"empty": b"", "half": whole[: len(whole) // 2], "words": b"words", "other": other}.items():
        path.write_bytes(data)
        try:
            training.read_checkpoint(path)
        except training.Refused as error:
            found[name] = str(error).replace(str(path), "PATH")
    return found


class Tired:
    """Pictures that are read after a while, some later than those asked for after them."""

    def __init__(self, images: np.ndarray, seed: int) -> None:
        self.images, self.shape, self.rng = images, images.shape, np.random.default_rng(seed)

    def __getitem__(self, rows: Any) -> np.ndarray:
        time.sleep(self.rng.random() / 50)
        found: np.ndarray = self.images[rows]
        return found


def seed(folder: Path) -> dict[str, Any]:
    """Train with every change of pictures, and with a net that has random layers inside, in a model within it, too."""
    augmentations = list(train_child.changes.NAMES)

    def losses(run: int, seed: int) -> list[Any]:
        keras.utils.set_random_seed(1)
        x = inputs = keras.Input((12, 12, 3))
        x = keras.layers.RandomFlip()(keras.layers.GaussianNoise(0.1)(keras.layers.Conv2D(6, 3)(x)))
        inner = keras.Input((10, 10, 6))
        x = keras.Model(inner, keras.layers.SpatialDropout2D(0.3)(keras.layers.Conv2D(6, 3)(inner)))(x)
        x = keras.layers.Dropout(0.3)(keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x)))
        model = keras.Model(inputs, keras.layers.Dense(2)(x))
        keras.utils.set_random_seed(run)
        data = some_data()
        data = replace(data, images=Tired(data.images, run))
        settings = {**SETTINGS, "seed": seed, "augmentations": augmentations, "epochs": 2, "batch": 2}
        where = folder / f"{run}"
        where.mkdir()
        order = {"settings": settings, "rates": RATES, "tensorboard": str(where / "tensorboard")}
        state = training.train(loop_of(model, data), order, where)
        return [row[name] for row in state.history for name in ("train_loss", "validation_loss")]

    return {"twice": [losses(0, 3), losses(1, 3)], "another": losses(2, 4)}


def divergence(folder: Path) -> dict[str, Any]:
    """Let the loss run away, at once and after a good epoch."""
    try:
        trained(folder / "whole", rate=1e30, optimizer="sgd")
        words = ""
    except training.Refused as error:
        words = str(error)
    one_epoch, calls = training.one_epoch, []

    def run_away(*arguments: Any) -> Any:
        calls.append(1)
        row = one_epoch(*arguments)
        return row if len(calls) == 1 else {**row, "train_loss": float("nan")}

    training.one_epoch = run_away
    _, state = trained(folder / "stopped")
    training.one_epoch = one_epoch
    return {
        "words": words,
        "checkpoint": (folder / "whole" / "checkpoint.npz").exists(),
        "later": [state.diverged, state.best_epoch, len(state.history)],
    }


def choice(_: Path) -> dict[str, Any]:
    model = tiny()
    nets = train_child.nets_child
    names = [layer.name for layer in nets.with_weights(model.layers)]
    found = {
        what: nets.train_from(model.layers, training.first_trained(names, what)) for what in ("all", "1", "second")
    }
    try:
        training.first_trained(names, "secund")
    except training.Refused as error:
        found["wrong"] = str(error)
    return found


def learned(folder: Path, data: Any, **changes: Any) -> tuple[np.ndarray, list[float]]:
    """Return what a net answers for the rows to select on, and its loss there before and after each epoch."""
    model = tiny()
    order = {"settings": {**SETTINGS, **changes}, "rates": RATES, "tensorboard": str(folder / "tensorboard")}
    loop = loop_of(model, data)
    before = training.validation(loop, 8)["validation_loss"]
    (folder / "checkpoint.npz").unlink(missing_ok=True)
    state = training.train(loop, order, folder)
    z = loop.answers(data.rows(1), 8)
    return z, [before, *(row["validation_loss"] for row in state.history)]


def kinds(folder: Path) -> dict[str, Any]:
    """Learn labels and numbers, by every optimizer; and let one class count for nothing."""
    data, found = some_data(), {}
    y = data.targets[:, 1:]
    both = np.concatenate([y, 1 - y], axis=1).astype(np.float32)
    for kind, targets in (("labels", both), ("numbers", 3 * both - 1)):
        for optimizer, rate in (("adamw", 1e-2), ("sgd", 1e-1), ("rmsprop", 1e-2)):
            changed = replace(data, targets=targets, kind=kind)
            z, losses = learned(folder, changed, optimizer=optimizer, rate=rate, epochs=12, patience=12)
            found[f"{kind} {optimizer}"] = {"z": z.tolist(), "y": targets[data.rows(1)].tolist(), "losses": losses}
    only_first = replace(data, weight=data.targets[:, 0].copy())
    z, _ = learned(folder, replace(only_first, targets=data.targets), rate=3e-2, epochs=8, patience=8)
    found["first class only"] = z.argmax(axis=1).tolist()
    return found


def rates(folder: Path) -> dict[str, Any]:
    """Choose the rate."""
    _, state = trained(folder, rate=None, epochs=1)
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "of" in line]
    return {
        "steps": [line["steps"] for line in steps],
        "of": [line["of"] for line in steps],
        "rate": state.rate,
        "losses": {str(line["tried_rate"]): line["validation_loss"] for line in lines if "tried_rate" in line},
        "first": state.history[0]["validation_loss"],
    }


def exported(job: dict[str, Any], images: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return photos as the net takes them, and what the net that an export would convert makes of them."""
    child, found = train_child.keras_child, dict[str, Any]()
    finish = child.finish

    def keep(net: Any, photos: np.ndarray, ready: np.ndarray, *_: object) -> dict[str, Any]:
        found.update(ready=ready, **child.by_batches(net, ready))
        return {}

    child.finish = keep
    child.run(job, images, folder, [])
    child.finish = finish
    return found["ready"], found["features"]


def sources(folder: Path) -> dict[str, Any]:
    """Build every source as it is trained, and take one step: what moves, and what the features were before."""
    shared: dict[str, Any] = {
        "layers": [],
        "pooling": None,
        "logits": False,
        "height": 64,
        "width": 64,
        "weights": None,
        "affine": PIXELS,
    }
    images = np.random.default_rng(2).integers(0, 256, (2, 80, 80, 3)).astype(np.uint8)
    inputs = keras.Input((64, 64, 3))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, strides=2, name="convolution")(inputs))
    own = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    own.save(folder / "own.keras")
    own.export(folder / "saved", verbose=False)
    jobs = {
        "application": {"what": "MobileNetV3Small", "weights": "random"},
        "keras": {"what": str(folder / "own.keras")},
        "savedmodel": {"what": str(folder / "saved")},
    }
    found = {}
    for kind, job in jobs.items():
        whole = {**shared, **job, "kind": kind}
        pictures, expected = exported(whole, images, folder)
        keras.utils.set_random_seed(11)  # what came before is not to count
        net = train_child.backbone(whole, images)
        features = np.asarray(net.function(pictures)["features"])
        difference = float(np.abs(features - expected).max())
        train_child.nets_child.train_from(net.model.layers, 0)
        model = keras.Model(net.model.inputs, keras.layers.Dense(2)(net.model.output["features"]))
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.fit(pictures, np.ones((len(pictures), 2)), verbose=0)
        after = np.asarray(net.function(pictures)["features"])
        found[kind] = {
            "difference": difference,
            "scale": float(np.abs(expected).max()),
            "moved": float(np.abs(after - features).max()),
        }
    return found


def lite0(order: dict[str, Any], path: Path) -> None:
    """Write photos, uint8, and what the Keras definition of the embedded backbone makes of them."""
    net = train_child.backbone(order["net"], np.load(order["photos"]))
    photos = train_child.keras_child.crops(np.load(order["photos"]), *net.size)
    ready = train_child.keras_inputs.prepared(tf.constant(photos, tf.float32), order["pixels"])
    np.savez(path, photos=photos, features=np.asarray(net.function(ready)["features"]))


def changed(names: list[str], numbers: np.ndarray, pictures: Any, rows: Any) -> np.ndarray:
    """Return pictures changed by TensorFlow."""
    c = train_child.changes
    wanted = c.changes(names, numbers, (12, 12))
    return np.asarray(train_child.keras_inputs.changing(wanted, c.LEVELS, c.LUMA)(pictures, rows))


def augmentation(folder: Path) -> dict[str, Any]:
    """Change pictures; those of every change are left for the judge, who is in another process."""
    pictures = tf.constant(some_data().images[:4], tf.float32)
    found, names = {}, list(train_child.changes.NAMES)
    rows, numbers = tf.range(4), train_child.changes.drawn(4, 5, 0)
    for name in names:
        made = changed([name], numbers, pictures, rows)
        found[name] = [list(made.shape), float(made.min()), float(made.max()),
                       float(np.abs(made - np.asarray(pictures)).mean())]  # fmt: skip
    flipped = changed(["flip"], numbers, pictures, rows)
    mirrored = np.where((numbers[:, 0] < 0.5)[:, None, None, None], np.asarray(pictures)[:, :, ::-1], pictures)
    whole = changed(names, numbers, pictures, rows)
    alone = changed(names, numbers, tf.gather(pictures, [2]), tf.constant([2]))
    return {
        "each": found,
        "none": float(np.abs(changed([], numbers, pictures, rows) - np.asarray(pictures)).max()),
        "flip": float(np.abs(flipped - mirrored).max()),
        "alone": bool(np.array_equal(alone[0], whole[2])),
        "pictures": np.asarray(pictures).tolist(),
        "changed": whole.tolist(),
    }


def schedule(_: Path) -> dict[str, Any]:
    """Return Keras's rates, and the shares that other frameworks take of them."""
    steps = 37
    warm = training.warm_steps(steps)
    rates = keras.optimizers.schedules.CosineDecay(
        3e-3 / 100, steps - warm, alpha=0.01, warmup_target=3e-3, warmup_steps=warm
    )
    return {
        "keras": [float(rates(step)) for step in range(steps)],
        "ours": [3e-3 * training.share_of_rate(step, steps) for step in range(steps)],
    }


if __name__ == "__main__":
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        train_child.reproducible("application")
        for check in (
            resume,
            memory,
            disk,
            damage,
            seed,
            divergence,
            choice,
            kinds,
            rates,
            sources,
            augmentation,
            schedule,
        ):
            for part in ("whole", "stopped", ""):
                (Path(scratch) / check.__name__ / part).mkdir(parents=True, exist_ok=True)
            results[check.__name__] = check(Path(scratch) / check.__name__)
    Path(os.environ["CHECKS"]).write_text(json.dumps(results))
    lite0(json.loads(Path(sys.argv[1]).read_text()), Path(os.environ["CHECKS"]).with_name("lite0.npz"))
    train_child.main(Path(sys.argv[1]))
