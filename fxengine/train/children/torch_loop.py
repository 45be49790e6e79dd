"""The training loop of PyTorch, for the training process only: a `training.Loop`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Job = dict[str, Any]
Inputs = tuple[torch.Tensor, ...]
BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm)
# What each optimizer remembers of a weight.
_REMEMBERED = {
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
    "rmsprop": ("step", "square_avg"),
}


@dataclass
class TorchLoop:
    """A net with its head, the rows that it learns, and how these become its inputs.

    `inputs` makes them of rows, changed as the settings say in an epoch, or as they are for None; it runs in a thread
    of its own, a batch ahead. `training` is the module training.py.
    """

    net: torch.nn.Module
    data: Any
    inputs: Callable[[np.ndarray, Job | None, int], Inputs]
    training: Any
    device: str
    out_of_memory: tuple[type[Exception], ...] = (MemoryError,)
    made: torch.optim.Optimizer | None = None
    steps: int = 0
    name: str = field(default="")

    def weights(self) -> list[np.ndarray]:
        """Return all weights and statistics."""
        return [value.detach().cpu().numpy().copy() for value in self.net.state_dict().values()]

    def put(self, weights: Sequence[np.ndarray]) -> None:
        """Set all weights and statistics."""
        there = self.net.state_dict()
        state = {name: torch.from_numpy(np.array(value)) for name, value in zip(there, weights, strict=True)}
        self.net.load_state_dict(state)

    def begin(self, state: Any, settings: Job) -> None:
        """Take a fresh optimizer."""
        t, self.name = self.training, settings["optimizer"]
        wanted = [weight for weight in self.net.parameters() if weight.requires_grad]
        make: Callable[[], torch.optim.Optimizer] = {
            "adamw": lambda: torch.optim.AdamW(wanted, state.rate, weight_decay=t.WEIGHT_DECAY, eps=t.EPSILON),
            "sgd": lambda: torch.optim.SGD(wanted, state.rate, momentum=t.MOMENTUM, nesterov=True),
            "rmsprop": lambda: torch.optim.RMSprop(wanted, state.rate, alpha=t.RHO, eps=t.EPSILON),
        }[self.name]
        self.made, self.steps = make(), t.steps_of(self.data, state, settings)

    def optimizer(self) -> list[np.ndarray]:
        """Return what the optimizer remembers of every weight, nothing of one that no gradient has reached."""
        assert self.made is not None
        found = []
        for weight in self._trained():
            there = self.made.state.get(weight, {})
            for name in _REMEMBERED[self.name]:
                value = there.get(name)
                found.append(np.zeros(0, np.float32) if value is None else torch.as_tensor(value).cpu().numpy().copy())
        return found

    def put_optimizer(self, values: Sequence[np.ndarray]) -> None:
        """Set what the optimizer remembers."""
        assert self.made is not None
        names, left = _REMEMBERED[self.name], iter(values)
        for weight in self._trained():
            taken = dict(zip(names, (next(left) for _ in names), strict=True))
            there = {n: torch.from_numpy(np.array(v)) for n, v in taken.items() if v.size}
            on = {name: value if name == "step" else value.to(self.device) for name, value in there.items()}
            if on:
                self.made.state[weight] = on

    def epoch(self, rows: np.ndarray, state: Any, settings: Job, tell: Callable[[], None]) -> float:
        """Train on rows in their order; return the loss."""
        try:
            return self._epoch(rows, state, settings, tell)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        except RuntimeError as error:
            if "Allocator" in str(error):  # the processor's has no class of its own
                raise MemoryError(str(error)) from error
            raise

    def answers(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """Return the logits of rows, float32 [rows, outputs]."""
        order, found = self.data.alike(rows), []
        self.net.eval()
        with torch.no_grad():
            for _, inputs in self._batches(rows[order], batch, None, 0):
                found.append(self.net(*inputs).float().cpu().numpy())
        return np.concatenate(found)[np.argsort(order)]

    def log(self, folder: str, epoch: int, row: dict[str, float]) -> None:
        """Write the numbers of an epoch for TensorBoard, where that is installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        with SummaryWriter(folder) as writer:
            for name, value in row.items():
                writer.add_scalar(name, value, epoch)

    def _trained(self) -> list[torch.nn.Parameter]:
        assert self.made is not None
        return [weight for group in self.made.param_groups for weight in group["params"]]

    def _epoch(self, rows: np.ndarray, state: Any, settings: Job, tell: Callable[[], None]) -> float:
        assert self.made is not None
        torch.manual_seed(int(np.random.default_rng([settings["seed"], state.epoch]).integers(2**31)))
        train_mode(self.net)
        self.made.zero_grad()
        parts, total, count = -(-len(rows) // state.batch), 0.0, 0
        for number, (chosen, inputs) in enumerate(self._batches(rows, state.batch, settings, state.epoch)):
            loss = self._loss(self.net(*inputs), chosen, settings["label_smoothing"])
            (loss / state.accumulate).backward()
            if (number + 1) % state.accumulate == 0 or number == parts - 1:
                share = self.training.share_of_rate(state.epoch * parts + number, self.steps)
                for group in self.made.param_groups:
                    group["lr"] = state.rate * share
                self.made.step()
                self.made.zero_grad()
            total, count = total + float(loss.detach()) * len(chosen), count + len(chosen)
            tell()
            if not np.isfinite(total):
                break
        return total / count

    def _loss(self, z: torch.Tensor, rows: np.ndarray, smoothing: float) -> torch.Tensor:
        """Return the mean over rows of their losses times their weights, as Keras has it."""
        y = torch.from_numpy(self.data.targets[rows]).to(z.device)
        weight = torch.from_numpy(self.data.weight[rows]).to(z.device)
        if self.data.kind == "numbers":
            each = (z - y).square().mean(1)
        elif self.data.kind == "labels":
            y = y * (1 - smoothing) + 0.5 * smoothing
            each = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none").mean(1)
        else:
            y = y * (1 - smoothing) + smoothing / y.shape[1]
            each = -(y * torch.log_softmax(z, 1)).sum(1)
        return (each * weight).mean()

    def _batches(
        self, rows: np.ndarray, batch: int, settings: Job | None, epoch: int
    ) -> Iterator[tuple[np.ndarray, Inputs]]:
        """Yield rows with their inputs; the next are made meanwhile."""
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.inputs, parts[0], settings, epoch)
            for chosen, following in zip(parts, [*parts[1:], None], strict=True):
                inputs = ahead.result()
                if following is not None:
                    ahead = pool.submit(self.inputs, following, settings, epoch)
                yield chosen, tuple(value.to(self.device) for value in inputs)


def train_mode(net: torch.nn.Module) -> None:
    """Put a net into training mode, but for batch norm, whose statistics stay."""
    net.train()
    for module in net.modules():
        if isinstance(module, BATCH_NORMS):
            module.eval()


def with_weights(net: torch.nn.Module) -> list[str]:
    """Return the names of the modules that have weights of their own, in the order of the net."""
    return [name for name, module in net.named_modules() if list(module.parameters(recurse=False))]


def train_from(net: torch.nn.Module, first: int) -> list[str]:
    """Freeze the modules with weights before the one at the place `first`, and all batch norms; return the others."""
    chosen = []
    for i, name in enumerate(with_weights(net)):
        module = net.get_submodule(name)
        trains = i >= first and not isinstance(module, BATCH_NORMS)
        for weight in module.parameters(recurse=False):
            weight.requires_grad_(trains)
        if trains:
            chosen.append(name)
    return chosen


def reproducible() -> str:
    """Let the same seed give the same numbers, where that can be had; return the device to train on."""
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        return "cuda"
    torch.use_deterministic_algorithms(True)
    return "cpu"
