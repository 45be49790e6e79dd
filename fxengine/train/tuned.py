"""What a training process leaves, whatever it trained; and how it is run and followed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fxengine.backbones.children import keras_env, torch_env
from fxengine.backbones.children.framework import Framework
from fxengine.backbones.children.layout import ANSWER
from fxengine.backbones.children.process import Program, check_answer, run_program
from fxengine.backbones.spec import BackboneFile, Facts
from fxengine.pipeline.summary import Progress
from fxengine.train import layout
from fxengine.train.options import FinetuneOptions

Watch = Callable[[Progress], None] | None
CHILD = Path(__file__).parent / "children" / "train_child.py"
TORCH_CHILD = CHILD.with_name("torch_train_child.py")


@dataclass(frozen=True)
class Tuned:
    """A net that was trained, found to compute what its framework does.

    Attributes:
        model: the finished graph; it has no facts yet.
        facts: what it will say of itself, but for what it was trained on.
        head: from its features to answers.
        rows: those that are selected and reported on, int64 [n].
        logits: what it says of them, float32 [n, outputs].
        state: how the training went.
        trained: names of the layers that were not frozen.
        changed: whether their weights are others than before.
        differences: of the graph to the framework.
        metadata: what the file says beside its facts.
        notes: what was left out or made up, a sentence each.
    """

    model: onnx.ModelProto
    facts: Facts
    head: onnx.ModelProto
    rows: np.ndarray
    logits: np.ndarray
    state: dict[str, Any]
    trained: list[str]
    changed: bool
    differences: dict[str, float]
    metadata: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def untrained(original: BackboneFile, head: onnx.ModelProto, outputs: int, options: FinetuneOptions) -> Tuned:
    """Return what there is where nothing was trained: the original and its head, and no answers of its own."""
    state = {"rate": options.rate or 0.0, "batch": options.batch, "best_epoch": 0, "history": []}
    rows, answers = np.empty(0, np.int64), np.empty((0, outputs), np.float32)
    return Tuned(onnx.ModelProto(), original.facts, head, rows, answers, state, [], changed=False, differences={})


def run_training(
    name: str, work: Path, order: Mapping[str, Any], progress: Watch, kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Run the training process to its end; return its answer and the arrays that it left.

    Args:
        name: what is trained.
        work: where its data lies, and what it leaves goes.
        order: what to do, beside where.
        progress: told the steps.
        kind: of source that the net is of.

    Raises:
        InputError: the training failed.
    """
    (work / ANSWER).unlink(missing_ok=True)
    there = str(work.absolute())
    where = {"data": there, "folder": there, "tensorboard": str(work.absolute().with_name(layout.TENSORBOARD))}
    watch = _follow(work / layout.PROGRESS, progress)
    log, ended = run_program(program_of(kind), {**order, **where}, work, seconds=math.inf, watch=watch)
    check_answer(name, work, log, ended, "trained")
    with np.load(work / layout.OUTPUTS) as arrays:
        return json.loads((work / ANSWER).read_text()), dict(arrays)


def program_of(kind: str) -> Program:
    """Return the program that trains nets of a kind of source."""
    if kind in torch_env.LIBRARIES:
        return torch_env.program(kind, TORCH_CHILD, trains=True)
    return keras_env.program(CHILD, trains=True)


def framework_of(kind: str) -> Framework:
    """Return the framework of a kind of source."""
    return torch_env.LIBRARIES.get(kind, keras_env.KERAS)


def versions_of(kind: str) -> dict[str, str]:
    """Return the versions that a training of a kind of source depends on; raises InputError where one is missing."""
    return torch_env.versions(kind) if kind in torch_env.LIBRARIES else keras_env.versions()


def _follow(path: Path, progress: Watch) -> Callable[[], None]:
    """Return what reads the training's last step and tells it.

    It counts from the first step that it hears of: loading Keras, building the net and what an earlier process did say
    nothing of the time that is left.
    """
    path.unlink(missing_ok=True)
    told = 0

    def watch() -> None:
        nonlocal told
        if progress is None or not path.is_file():
            return
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        steps = [line for line in lines if "of" in line]
        if len(steps) > max(1, told):
            told = len(steps)
            first, last = steps[0], steps[-1]
            done, left = last["steps"] - first["steps"], last["of"] - last["steps"]
            progress(Progress(done, 0, done + left, last["at"] - first["at"]))

    return watch
