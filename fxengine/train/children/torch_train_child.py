"""The program that trains by PyTorch: `python torch_train_child.py JOB.json`. No part of the engine; it talks by files.

It takes and leaves what train_child.py does, and exports as torch_child.py.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

# By its path: the folder must not be searched for modules.
loaded = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("training.py")))).loaded
HERE = Path(__file__).parent
training = loaded(HERE / "training.py")
torch_child = loaded(HERE.parents[1] / "backbones" / "children" / "torch_child.py")
rows, changes, torch_inputs, torch_loop = (
    loaded(HERE / f"{name}.py") for name in ("rows", "changes", "torch_inputs", "torch_loop")
)
layout = training.layout

Job = dict[str, Any]
_MOST_APART = 1e-3  # ||a-b||/||b||


class Tuned(torch.nn.Module):  # type: ignore[misc]  # torch is not where types are checked
    """A headless net, its features of length 1, and a dense head."""

    def __init__(self, net: torch.nn.Module, weights: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.net = net
        self.head = torch.nn.Linear(weights.shape[1], weights.shape[0])
        self.head.load_state_dict({"weight": torch.from_numpy(weights), "bias": torch.from_numpy(bias)})

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        found: torch.Tensor = self.head(torch.nn.functional.normalize(self.net(*inputs)))
        return found


def main(path: Path) -> None:
    """Train and export, or draw samples; an error is left in words."""
    order = json.loads(path.read_text())
    folder = Path(order["folder"])
    refused = (torch_child.Refused, training.Refused)
    answer = folder / torch_child.layout.ANSWER
    torch_child.answer_file.leave_answer(answer, lambda tried: run(order, folder, tried), refused)


def run(order: Job, folder: Path, tried: list[str]) -> Job:
    """Do the whole job."""
    there = Path(order["data"])
    if order["net"].get("texts"):
        return run_texts(order, folder, tried)
    data = rows.read_pictures(there, layout, order["pixels"])
    if order.get("preview"):
        draw_samples(data, order["settings"], Path(order["preview"]))
        return {}
    device = torch_loop.reproducible()
    net = torch_child.torch_nets.build(order["net"])
    photos = torch_child.photo_crops.crops(np.load(order["photos"]), *net.size)
    ready = torch_inputs.prepared(torch.from_numpy(photos).permute(0, 3, 1, 2).float(), order["pixels"]).contiguous()
    check_same(net, (ready,), np.load(there / layout.EXPECTED))
    said = trained(net, data, torch_inputs.of_pictures(data, changes), order, folder, device)
    return {**torch_child.finish(net, photos, ready.numpy(), folder, tried), **said}


def run_texts(order: Job, folder: Path, tried: list[str]) -> Job:
    """Do the whole job of a net of texts."""
    there, job = Path(order["data"]), order["net"]
    data, device = rows.read_texts(there, layout), torch_loop.reproducible()
    net, inputs = torch_child.torch_nets.build(job), torch_inputs.of_texts(data)
    with np.load(there / layout.ARRAYS) as arrays:
        sample = arrays["sample"]
    check_same(net, inputs(sample, None, 0), np.load(there / layout.EXPECTED))
    said = trained(net, data, inputs, order, folder, device)
    whole = torch_child.torch_hf.build({**job, "pooling": None})
    whole.net.load_state_dict(net.net.state_dict())
    return {**torch_child.finish_repository(whole, np.empty(0), folder, tried), **said}


def trained(net: torch.nn.Module, data: Any, inputs: Any, order: Job, folder: Path, device: str) -> Job:
    """Train a headless net, and leave it on the processor as it is exported; return what is to be said of it."""
    begin, there = time.perf_counter(), Path(order["data"])
    names = torch_loop.with_weights(net)
    layers = torch_loop.train_from(net, training.first_trained(names, order["settings"]["unfreeze"]))
    tuned = Tuned(net, *rows.head_of(there, layout)).to(device)
    loop = torch_loop.TorchLoop(tuned, data, inputs, training, device)
    before = [value.detach().cpu().numpy().copy() for value in net.state_dict().values()]
    state = training.train(loop, order, folder)
    weights, bias = (value.detach().cpu().numpy() for value in (tuned.head.weight, tuned.head.bias))
    np.savez(folder / layout.OUTPUTS, allow_pickle=False, **training.outputs(loop, state, weights, bias))
    net.cpu().eval()
    torch.set_grad_enabled(False)
    after = [value.numpy() for value in net.state_dict().values()]
    changed = training.differ(before, after)
    return {
        **torch_child.cost(order["net"]["kind"], begin),
        "state": asdict(state),
        "trained": layers,
        "changed": changed,
    }


def check_same(net: torch.nn.Module, inputs: tuple[torch.Tensor, ...], expected: np.ndarray) -> None:
    """Raise Refused where the net does not give the features that the probe was fitted to."""
    with torch.no_grad():
        found = net(*inputs).numpy()
    apart = np.linalg.norm(found - expected, axis=1) / np.maximum(np.linalg.norm(expected, axis=1), 1e-30)
    if not apart.max() <= _MOST_APART:  # not ">": NaN must fail
        raise training.Refused(
            f"PyTorch's net gives other features than its export ({apart.max():.2g}, ||a-b||/||b||), so that it cannot "
            "be trained from there. Export it anew."
        )


def draw_samples(data: Any, settings: Job, path: Path) -> None:
    """Write the training pictures, each as it is and changed, uint8 [pictures, 6, height, width, 3]."""
    chosen = data.rows(training.TRAIN)
    plain = torch.from_numpy(np.array(data.images[chosen])).permute(0, 3, 1, 2).float()
    shown = [plain]
    for epoch in range(5):
        numbers = changes.drawn(len(data.split), settings["seed"], epoch)[chosen]
        wanted = changes.changes(settings["augmentations"], numbers, data.images.shape[1:3])
        shown.append(torch_inputs.changed(plain, wanted, changes.LEVELS, changes.LUMA))
    np.save(path, torch.stack(shown, 1).permute(0, 1, 3, 4, 2).round().byte().numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
