"""Stands in for train_child.py: tries its parts on small nets of texts, then does the job, in one process."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np

HERE = Path(__file__).resolve().parents[2] / "fxengine" / "train" / "children" / "train_child.py"
spec: Any = importlib.util.spec_from_file_location("train_child", HERE)
train_child: Any = importlib.util.module_from_spec(spec)
sys.modules["train_child"] = train_child
spec.loader.exec_module(train_child)
training = train_child.training

SETTINGS = {
    "seed": 3, "rate": 1e-2, "batch": 8, "epochs": 3, "patience": 3, "optimizer": "adamw", "label_smoothing": 0.0,
    "augmentations": [],
}  # fmt: skip
DIM, WORDS = 5, 12


def some_data() -> Any:
    """Forty texts of no to nine words, whose first word says the class."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, WORDS, n).astype(np.int32) for n in [0, *rng.integers(1, 10, 39)]]
    y = np.array([len(row) and row[0] % 2 for row in rows])
    starts = np.cumsum([0, *map(len, rows)])
    split = np.r_[2, np.arange(39) % 3]
    return train_child.rows.Texts(
        np.concatenate(rows), starts, np.eye(2, dtype=np.float32)[y], split, np.ones(40, np.float32), "classes"
    )


def built(net: str, frozen: bool) -> Any:
    keras.utils.set_random_seed(1)
    table = np.random.default_rng(2).normal(size=(WORDS, DIM)).astype(np.float32)
    return train_child.texts_child.build({"net": net, "units": 4, "frozen": frozen}, table, 2)


def loop_of(model: Any, data: Any) -> Any:
    inputs = train_child.keras_inputs.of_texts(data)
    return train_child.keras_loop.KerasLoop(model, data, inputs, lambda settings, epoch: None, training)


def trained(folder: Path, net: str = "average", frozen: bool = True, **changes: Any) -> Any:
    made = built(net, frozen)
    order = {"settings": {**SETTINGS, **changes}, "rates": [1e-3], "tensorboard": str(folder / "tensorboard")}
    return made, training.train(loop_of(made.model, some_data()), order, folder)


def resume(folder: Path) -> dict[str, Any]:
    """Stop after the second epoch; the second call ends with the weights of an uninterrupted run, dropout and all."""
    whole, state = trained(folder / "whole")
    say = training.say

    def stop(where: Path, words: dict[str, Any]) -> None:
        if words.get("epoch") == 2:
            raise KeyboardInterrupt
        say(where, words)

    training.say = stop
    with suppress(KeyboardInterrupt):
        trained(folder / "stopped")
    training.say = say
    again, resumed = trained(folder / "stopped")
    pairs = list(zip(whole.model.get_weights(), again.model.get_weights(), strict=True))
    return {
        "epochs": resumed.epoch,
        "distance": max(float(np.abs(a - b).max()) for a, b in pairs),
        "same_history": np.allclose(
            [row["validation_loss"] for row in state.history], [row["validation_loss"] for row in resumed.history]
        ),
    }


def nets(folder: Path) -> dict[str, Any]:
    """Train each net, one with frozen vectors, and leave its weights and what Keras makes of texts."""
    found, validation, better = {}, training.validation, itertools.count(0, -1)
    training.validation = lambda *_: {"validation_loss": float(next(better))}  # so that the epoch is kept
    for net, frozen in (("bilstm", True), ("average", False)):
        (folder / net).mkdir()
        made, _ = trained(folder / net, net, frozen, epochs=1)
        before, data = built(net, frozen).weights(), some_data()
        moved = {part: float(np.abs(values - before[part]).max()) for part, values in made.weights().items()}
        samples = train_child.texts_child.samples(made, data)
        together = np.asarray(made.features(data.padded(np.arange(40)), training=False))
        np.savez(
            Path(os.environ["CHECKS"]).with_name(f"{net}.npz"),
            **made.weights(), **samples, together=together, tokens=data.tokens, starts=data.starts,
        )  # fmt: skip
        found[net] = {"moved": moved, "trained": made.trained}
    training.validation = validation
    return found


if __name__ == "__main__":
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for check in (resume, nets):
            for part in ("whole", "stopped", ""):
                (Path(scratch) / check.__name__ / part).mkdir(parents=True, exist_ok=True)
            results[check.__name__] = check(Path(scratch) / check.__name__)
    Path(os.environ["CHECKS"]).write_text(json.dumps(results))
    train_child.main(Path(sys.argv[1]))
