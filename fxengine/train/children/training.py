"""How a training goes, whatever framework computes: rates tried, epochs, the best weights, checkpoints, progress.

The programs that train load this file by its path; it imports numpy and the standard library alone. They hand it a
`Loop`, which does with their framework what is asked for here.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import math
import os
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

Job = dict[str, Any]
Tell = Callable[[], None]
ENGINE = os.getppid()
TRAIN, VALIDATION, TEST = 0, 1, 2
# What optimizers are set to, whatever the framework: Keras's defaults, but for the weight decay.
WEIGHT_DECAY, MOMENTUM, RHO, EPSILON = 1e-4, 0.9, 0.9, 1e-7
_WARM_UP = 0.1  # share of the steps in which the rate rises
_LEAST_RATE = 0.01  # share of the rate with which it begins and ends
_POOL = 32  # batches within which rows that are alike are brought together


def loaded(path: Path) -> ModuleType:
    """Import a file by its path: its folder must not be searched for modules."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # where dataclasses look for theirs
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
layout = loaded(HERE.parent / "layout.py")
files = loaded(HERE.parents[1] / "files.py")


class Refused(Exception):
    """The user asked for something that cannot be; the message says what to do."""


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
    """What is learned. `targets` is float32 [n, outputs]: one-hot classes, labels of 0 and 1, or numbers."""

    targets: np.ndarray
    split: np.ndarray
    weight: np.ndarray
    kind: str

    def rows(self, side: int) -> np.ndarray:
        """Return the rows of one side."""

    def alike(self, rows: np.ndarray) -> np.ndarray:
        """Return places of these rows in an order in which those that are quick to compute at once are neighbours."""


class Loop(Protocol):
    """A net in a framework, and the rows that it learns.

    Attributes:
        data: the rows.
        out_of_memory: what the framework raises where the memory does not hold a batch.
    """

    data: Data
    out_of_memory: tuple[type[Exception], ...]

    def weights(self) -> list[np.ndarray]:
        """Return all weights, in an order of the net's."""

    def put(self, weights: Sequence[np.ndarray]) -> None:
        """Set all weights."""

    def begin(self, state: State, settings: Job) -> None:
        """Take a fresh optimizer, at the rate, batch and accumulation of the state."""

    def optimizer(self) -> list[np.ndarray]:
        """Return what the optimizer remembers."""

    def put_optimizer(self, values: Sequence[np.ndarray]) -> None:
        """Set what the optimizer remembers."""

    def epoch(self, rows: np.ndarray, state: State, settings: Job, tell: Tell) -> float:
        """Train on rows in their order, all that is random begun anew; return the loss. `tell` hears of every step."""

    def answers(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """Return the logits of rows, float32 [rows, outputs]."""

    def log(self, folder: str, epoch: int, row: dict[str, float]) -> None:
        """Write the numbers of an epoch for TensorBoard."""


def train(loop: Loop, order: Job, folder: Path) -> State:
    """Train from the last checkpoint on; leave the net with the best weights."""
    settings = order["settings"]
    tried = 0 if settings["rate"] else len(order["rates"])
    order = {**order, "all_epochs": tried + settings["epochs"]}
    initial = loop.weights()
    saved = read_checkpoint(folder / layout.CHECKPOINT)
    if saved is None:
        state = State(settings["rate"] or choose_rate(loop, order, folder), settings["batch"], tried=tried)
        loop.put(initial)
        state.best_loss = validation(loop, state.batch)["validation_loss"]
        best = initial
        loop.begin(state, settings)
    else:
        state, weights, best, remembered = saved
        loop.begin(state, settings)
        loop.put(weights)
        loop.put_optimizer(remembered)
    while state.epoch < settings["epochs"] and state.epoch - state.best_epoch < settings["patience"]:
        if os.getppid() != ENGINE:
            raise SystemExit("the engine is gone")
        before = loop.weights()
        try:
            row = one_epoch(loop, order, folder, state)
        except loop.out_of_memory as error:
            halve(state, error)
            loop.put(before)
            loop.begin(state, settings)
            continue
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            state.diverged = state.epoch + 1
            break
        state.epoch += 1
        state.history.append(row)
        if row["validation_loss"] < state.best_loss:
            state.best_epoch, state.best_loss, best = state.epoch, row["validation_loss"], loop.weights()
        write_checkpoint(folder / layout.CHECKPOINT, state, loop, best)
        loop.log(order["tensorboard"], state.epoch, row)
        say(folder, {"epoch": state.epoch, "epochs": settings["epochs"], **row})
    if state.diverged and not state.best_epoch:
        (folder / layout.CHECKPOINT).unlink(missing_ok=True)  # else another rate would be that of another run
        raise Refused(
            f"the loss of epoch {state.diverged} is no finite number at the rate {state.rate:g}, and no epoch before "
            "did better than the beginning, so nothing is kept: give a lower `rate`."
        )
    loop.put(best)
    return state


def one_epoch(loop: Loop, order: Job, folder: Path, state: State) -> dict[str, float]:
    """Train on every row once; return what is known after it."""
    settings, begin = order["settings"], time.perf_counter()
    rows = mixed(loop.data, state.batch, np.random.default_rng([settings["seed"], state.epoch]))
    steps = -(-len(rows) // state.batch)
    done, said = 0, 0.0

    def tell() -> None:
        nonlocal done, said
        done += 1
        if time.monotonic() - said > 1:
            said = time.monotonic()
            passed = (state.tried + state.epoch) * steps + done
            say(folder, {"steps": passed, "of": order["all_epochs"] * steps, "at": said})

    loss = loop.epoch(rows, state, settings, tell)
    row = {"train_loss": float(loss), **validation(loop, state.batch)}
    return {**row, "seconds": round(time.perf_counter() - begin, 2)}


def choose_rate(loop: Loop, order: Job, folder: Path) -> float:
    """Return the rate with the lowest validation loss after one epoch each."""
    initial, losses = loop.weights(), {}
    settings = {**order["settings"], "epochs": 1}
    for tried, rate in enumerate(order["rates"]):
        loop.put(initial)
        state = State(rate, settings["batch"], tried=tried)
        loop.begin(state, settings)
        try:
            row = one_epoch(loop, {**order, "settings": settings}, folder, state)
        except loop.out_of_memory:
            break  # the training itself halves the batch
        losses[rate] = row["validation_loss"] if np.isfinite(row["validation_loss"]) else float("inf")
        say(folder, {"tried_rate": rate, **row})
    return min(losses, key=lambda rate: losses[rate]) if losses else float(order["rates"][1])


def halve(state: State, error: Exception) -> None:
    """Halve the batch and sum up twice as many gradients."""
    if state.batch == 1:
        raise Refused(f"the memory does not hold one row: {str(error)[:200]}") from error
    state.batch, state.accumulate = state.batch // 2, state.accumulate * 2


def steps_of(data: Data, state: State, settings: Job) -> int:
    """Return how many steps all epochs take."""
    return int(settings["epochs"]) * -(-int((data.split == TRAIN).sum()) // state.batch)


def warm_steps(steps: int) -> int:
    """Return for how many of all steps the rate rises."""
    return max(1, round(_WARM_UP * steps))


def share_of_rate(step: int, steps: int) -> float:
    """Return the share of the rate at a step, from 0: it rises in a line, then falls as a cosine.

    As `keras.optimizers.schedules.CosineDecay` with a warm-up has it (Loshchilov and Hutter 2017, arXiv 1608.03983).
    """
    warm = warm_steps(steps)
    if step < warm:
        return _LEAST_RATE + (1 - _LEAST_RATE) * step / warm
    falling = max(1, steps - warm)
    fallen = 0.5 * (1 + math.cos(math.pi * min(step - warm, falling) / falling))
    return (1 - _LEAST_RATE) * fallen + _LEAST_RATE


def mixed(data: Data, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows to train on in random order, those of a batch being alike where that makes them quick."""
    rows = rng.permutation(data.rows(TRAIN))
    pools = [rows[i : i + batch * _POOL] for i in range(0, len(rows), batch * _POOL)]
    ordered = np.concatenate([pool[data.alike(pool)] for pool in pools])
    whole = len(ordered) // batch * batch
    parts = rng.permutation(ordered[:whole].reshape(-1, batch))
    return np.concatenate([parts.ravel(), ordered[whole:]])


def validation(loop: Loop, batch: int) -> dict[str, float]:
    """Return loss and, for classes, accuracy on the rows to select on."""
    data = loop.data
    rows = data.rows(VALIDATION)
    z, y = loop.answers(rows, batch).astype(np.float64), data.targets[rows]
    if data.kind == "numbers":
        return {"validation_loss": float(((z - y) ** 2).mean())}
    if data.kind == "labels":
        return {"validation_loss": float((np.logaddexp(0, z) - y * z).mean())}
    top = z.max(axis=1, keepdims=True)
    logs = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    right = (z.argmax(axis=1) == y.argmax(axis=1)).mean()
    return {"validation_loss": float(-(y * logs).sum(axis=1).mean()), "validation_accuracy": float(right)}


def outputs(loop: Loop, state: State, weights: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Return what is said of the rows to select and to report on, and the head, weights [outputs, dim] and bias."""
    rows = np.concatenate([loop.data.rows(VALIDATION), loop.data.rows(TEST)])
    logits = loop.answers(rows, state.batch)
    if not np.isfinite(logits).all():
        raise Refused("the trained net's answers are no finite numbers: give a lower `rate`.")
    return {"rows": rows, "logits": logits, "head_weights": weights, "head_bias": bias}


def differ(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> bool:
    """Tell whether any weight is another."""
    return not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def first_trained(names: Sequence[str], unfreeze: str) -> int:
    """Return the place of the first layer to train: all, the last so many, or from the first whose name begins so."""
    if unfreeze == "all":
        return 0
    if unfreeze.isdigit():
        return max(0, len(names) - int(unfreeze))
    starts = [i for i, name in enumerate(names) if name.startswith(unfreeze)]
    if not starts:
        near = difflib.get_close_matches(unfreeze, names, n=5, cutoff=0.3) or names[-5:]
        raise Refused(f"there is no layer {unfreeze!r} to unfreeze from; the nearest are {', '.join(near)}.")
    return starts[0]


def write_checkpoint(path: Path, state: State, loop: Loop, best: Sequence[np.ndarray]) -> None:
    """Replace the checkpoint whole; the last good one stays where that fails."""
    groups = {"weight": loop.weights(), "best": best, "optimizer": loop.optimizer()}
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
    """Return state, weights, best weights and what the optimizer remembers; raises one of `DAMAGE`."""
    with np.load(path) as arrays:
        state = State(**json.loads(str(arrays["state"])))
        groups = [[arrays[f"{name}{i}"] for i in range(sum(key.startswith(name) for key in arrays))]
                  for name in ("weight", "best", "optimizer")]  # fmt: skip
    return state, groups[0], groups[1], groups[2]


def say(folder: Path, words: Job) -> None:
    """Add a line to progress.jsonl."""
    with (folder / layout.PROGRESS).open("a") as file:
        file.write(json.dumps(words) + "\n")
