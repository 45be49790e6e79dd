"""A loaded backbone, the same for every runtime: a batch of named inputs in, float32 vectors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fxengine.errors import StoreError, is_foreign, reason

CPU_BATCH = 4  # the activations of more pictures leave the processor's cache
GPU_BATCH = 128


class Runner(Protocol):
    """What a runtime loaded, with the call of ONNX Runtime's session; any thread may call it."""

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray], /) -> Sequence[np.ndarray]:
        """Return the outputs `names`, float32 [rows, dim] each."""


@dataclass
class Session:
    """A loaded backbone.

    Attributes:
        provider: what really runs the graph, read back after it was loaded.
        precision: what it computes in: "fp32", "bf16", "fp16" or "int8".
        engine: runtime and version.
        outputs: names of the graph's outputs.
        batch_size: rows of the compiled shape beside 1; halved where the device's memory does not hold as many.
        streams: how many threads should call `run` at once to use the whole device.
        runner: what runs it, or None once it was closed.
    """

    provider: str
    precision: str
    engine: str
    outputs: tuple[str, ...]
    batch_size: int
    streams: int
    runner: Runner | None

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return output name -> float32 [n, dim], rows in the order of the inputs, name -> array [n, ...].

        Only two shapes ever reach the runtime, `batch_size` rows and 1 row: a short batch is padded and cut.

        Raises:
            MemoryError: the device has not even the memory for one row.
            StoreError: the runtime cannot run the net, or that gives another number of rows.
        """
        names = list(outputs or self.outputs)
        rows = len(next(iter(inputs.values())))
        if not rows:
            one = self.run({name: _padded(values, 1) for name, values in inputs.items()}, names)
            return {name: values[:0] for name, values in one.items()}
        size = self.batch_size
        try:
            parts = [self._run_padded(_slice(inputs, i, i + size), size, names) for i in range(0, rows, size)]
        except MemoryError:
            if size == 1:
                raise
            self.batch_size = min(self.batch_size, size // 2)
            return self.run(inputs, names)
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}

    def _run_padded(self, inputs: Mapping[str, np.ndarray], size: int, names: list[str]) -> list[np.ndarray]:
        assert self.runner is not None, "the session was closed"
        count = len(next(iter(inputs.values())))
        rows = count if count in (1, size) else size
        if rows != count:
            inputs = {name: _padded(values, size) for name, values in inputs.items()}
        try:
            results = self.runner.run(names, inputs)
        except MemoryError:
            raise
        except Exception as error:
            if not is_foreign(error):
                raise
            raise StoreError(f"{self.engine} cannot run the backbone: {reason(error)}") from error
        shapes = [np.shape(result) for result in results]
        if any(len(shape) != 2 or shape[0] != rows for shape in shapes):
            raise StoreError(f"The backbone gives arrays of {shapes} for {rows} pictures, not a vector for each.")
        return [result[:count] for result in results]

    def close(self) -> None:
        """Free the model's memory."""
        self.runner = None


def _slice(inputs: Mapping[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: values[start:stop] for name, values in inputs.items()}


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    padded = np.zeros((rows, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded
