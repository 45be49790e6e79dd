"""Stands in for torch_train_child.py: tries its parts on tiny nets, then does the job; so torch is loaded once."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parents[2] / "fxengine" / "train" / "children" / "torch_train_child.py"
spec: Any = importlib.util.spec_from_file_location("torch_train_child", HERE)
child: Any = importlib.util.module_from_spec(spec)
sys.modules["torch_train_child"] = child
spec.loader.exec_module(child)
training, torch_loop = child.training, child.torch_loop

PIXELS = {"mean": [127.5] * 3, "std": [127.5] * 3, "bgr": False}
SETTINGS = {
    "seed": 3, "rate": 1e-2, "batch": 8, "epochs": 3, "patience": 3, "optimizer": "adamw", "label_smoothing": 0.0,
    "augmentations": ["flip", "rotation"],
}  # fmt: skip


def tiny() -> Any:
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.Conv2d(6, 6, 3),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(6, 2),
    )  # fmt: skip


def some_data() -> Any:
    rng = np.random.default_rng(0)
    y = np.arange(36) % 2
    images = rng.integers(0, 200, (36, 12, 12, 3)).astype(np.uint8) + (y[:, None, None, None] * 40).astype(np.uint8)
    split = np.repeat([0, 1, 2], 12)
    targets, weight = np.eye(2, dtype=np.float32)[y], np.ones(36, np.float32)
    return child.rows.Pictures(images, targets, split, weight, "classes", PIXELS)


def loop_of(net: Any, data: Any) -> Any:
    inputs = child.torch_inputs.of_pictures(data, child.changes)
    return torch_loop.TorchLoop(net, data, inputs, training, "cpu")


def trained(folder: Path, data: Any = None, **changes: Any) -> tuple[Any, Any]:
    net = tiny()
    torch_loop.train_from(net, 0)
    order = {"settings": {**SETTINGS, **changes}, "rates": (1e-4, 1e-2), "tensorboard": str(folder / "tensorboard")}
    loop = loop_of(net, some_data() if data is None else data)
    return loop, training.train(loop, order, folder)


def distance(a: Any, b: Any) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(a.weights(), b.weights(), strict=True))


def resume(folder: Path) -> dict[str, Any]:
    """Stop after the second epoch; the second call ends with the weights of an uninterrupted run, dropout and all."""
    whole, state = trained(folder / "whole")
    say, stopped = training.say, folder / "stopped"

    def stop(where: Path, words: dict[str, Any]) -> None:
        if words.get("epoch") == 2:
            raise KeyboardInterrupt
        say(where, words)

    found = {}
    for optimizer in ("adamw", "sgd", "rmsprop"):
        shutil.rmtree(stopped)
        stopped.mkdir()
        (folder / "whole" / "checkpoint.npz").unlink()
        whole, state = trained(folder / "whole", optimizer=optimizer)
        training.say = stop
        with suppress(KeyboardInterrupt):
            trained(stopped, optimizer=optimizer)
        training.say = say
        again, resumed = trained(stopped, optimizer=optimizer)
        losses = [[row["validation_loss"] for row in each.history] for each in (state, resumed)]
        found[optimizer] = [resumed.epoch, distance(whole, again), losses[0] == losses[1]]
    norm = whole.net[1]
    fresh = loop_of(tiny(), some_data())
    return {
        "each": found,
        "moved": distance(whole, fresh),
        "norm_frozen": bool((norm.running_mean == 0).all() and (norm.weight == 1).all()),
    }


def plain(folder: Path) -> dict[str, Any]:
    """Train by a loop written out here, on the same batches, without what is random."""
    found = {}
    for optimizer in ("adamw", "sgd", "rmsprop"):
        (folder / optimizer).mkdir()
        data, net = some_data(), tiny()
        net[6] = torch.nn.Identity()
        torch_loop.train_from(net, 0)
        loop, settings = loop_of(net, data), {**SETTINGS, "augmentations": [], "optimizer": optimizer, "epochs": 2}
        order = {"settings": settings, "rates": (), "tensorboard": "", "all_epochs": 2}
        state = training.State(1e-2, 8)
        loop.begin(state, settings)
        judge = tiny()
        judge[6] = torch.nn.Identity()
        weights = [w for name, w in judge.named_parameters() if not name.startswith("1.")]
        made: Any = {
            "adamw": lambda w: torch.optim.AdamW(w, 1e-2, weight_decay=1e-4, eps=1e-7),
            "sgd": lambda w: torch.optim.SGD(w, 1e-2, momentum=0.9, nesterov=True),
            "rmsprop": lambda w: torch.optim.RMSprop(w, 1e-2, alpha=0.9, eps=1e-7),
        }[optimizer](weights)
        shares = iter([training.share_of_rate(step, 4) for step in range(4)])
        losses: list[float] = []
        for epoch in range(2):
            rows = training.mixed(data, 8, np.random.default_rng([3, epoch]))
            judge.train()
            judge[1].eval()
            mean = 0.0
            for part in (rows[:8], rows[8:]):
                x = (torch.from_numpy(data.images[part]).permute(0, 3, 1, 2).float() - 127.5) / 127.5
                y = torch.from_numpy(data.targets[part].argmax(1))
                loss = torch.nn.functional.cross_entropy(judge(x), y)
                made.zero_grad()
                loss.backward()
                made.param_groups[0]["lr"] = 1e-2 * next(shares)
                made.step()
                mean += float(loss) * len(part) / len(rows)
            losses.append(mean)
        ours = []
        for _ in range(2):
            ours.append(training.one_epoch(loop, order, folder / optimizer, state)["train_loss"])
            state.epoch += 1
        there = [float((a - b).abs().max()) for a, b in zip(net.parameters(), judge.parameters(), strict=True)]
        found[optimizer] = {"losses": [losses, ours], "distance": max(there)}
    return found


def memory(folder: Path) -> dict[str, Any]:
    """Run out of memory once; the batch is halved and gradients are summed up."""
    epoch, calls = torch_loop.TorchLoop._epoch, []

    def fail(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return epoch(*arguments)

    torch_loop.TorchLoop._epoch = fail
    _, state = trained(folder, epochs=2)
    torch_loop.TorchLoop._epoch = epoch
    return {"batch": state.batch, "accumulate": state.accumulate, "epochs": state.epoch}


def kinds(folder: Path) -> dict[str, Any]:
    """Learn labels and numbers; and let one class count for nothing."""
    data, found = some_data(), {}
    y = data.targets[:, 1:]
    both = np.concatenate([y, 1 - y], axis=1).astype(np.float32)
    for kind, targets in (("labels", both), ("numbers", 3 * both - 1)):
        (folder / "checkpoint.npz").unlink(missing_ok=True)
        changed = replace(data, targets=targets, kind=kind)
        loop, _ = trained(folder, changed, epochs=12, patience=12, augmentations=[])
        found[kind] = {"z": loop.answers(data.rows(1), 8).tolist(), "y": targets[data.rows(1)].tolist()}
    (folder / "checkpoint.npz").unlink()
    only_first = replace(data, weight=data.targets[:, 0].copy())
    loop, _ = trained(folder, only_first, rate=3e-2, epochs=8, patience=8, augmentations=[])
    found["first class only"] = loop.answers(data.rows(1), 8).argmax(axis=1).tolist()
    return found


def choice(_: Path) -> dict[str, Any]:
    net = tiny()
    names = torch_loop.with_weights(net)
    found: dict[str, Any] = {"names": names}
    for what in ("all", "1", "3"):
        found[what] = torch_loop.train_from(net, training.first_trained(names, what))
    found["frozen"] = [name for name, weight in net.named_parameters() if not weight.requires_grad]
    return found


def augmentation(_: Path) -> dict[str, Any]:
    """Change pictures; the judge is in another process."""
    pictures = torch.from_numpy(some_data().images[:4]).permute(0, 3, 1, 2).float()
    c = child.changes
    wanted = c.changes(c.NAMES, c.drawn(4, 5, 0), (12, 12))
    changed = child.torch_inputs.changed(pictures, wanted, c.LEVELS, c.LUMA).permute(0, 2, 3, 1)
    return {"pictures": pictures.permute(0, 2, 3, 1).tolist(), "changed": changed.tolist()}


if __name__ == "__main__":
    results: dict[str, Any] = {}
    torch_loop.reproducible()
    with tempfile.TemporaryDirectory() as scratch:
        for check in (resume, plain, memory, kinds, choice, augmentation):
            for part in ("whole", "stopped", ""):
                (Path(scratch) / check.__name__ / part).mkdir(parents=True, exist_ok=True)
            results[check.__name__] = check(Path(scratch) / check.__name__)
    Path(os.environ["CHECKS"]).write_text(json.dumps(results))
    child.main(Path(sys.argv[1]))
