"""A loaded backbone, the same for every runtime: a batch of named inputs in, float32 vectors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fxengine.backbones.spec import LENGTHS_INPUT, SPANS_OUTPUT
from fxengine.errors import StoreError, is_foreign, reason
from fxengine.execute.shapes import Rows, cut, takes_texts, texts_of_a_run

CPU_BATCH = 4  # the activations of more pictures leave the processor's cache
GPU_BATCH = 128


class Runner(Protocol):
    """What a runtime loaded, with the call of ONNX Runtime's session; any thread may call it."""

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray], /) -> Sequence[np.ndarray]:
        """Return the outputs `names`, float32 [rows, dim] each; of `spans` [rows, length, labels]."""


@dataclass
class Session:
    """A loaded backbone.

    Attributes:
        provider: what really runs the graph, read back after it was loaded.
        precision: what it computes in: "fp32", "bf16", "fp16" or "int8".
        engine: runtime and version.
        outputs: names of the graph's outputs.
        batch_size: of pictures, rows of the compiled shape beside 1; halved where the device's memory does not hold as
            many. Of texts, tokens of a run.
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

        Of pictures, only two shapes ever reach the runtime, `batch_size` rows and 1 row: a short batch is padded and
        cut. Of texts see `execute.shapes`.

        Raises:
            MemoryError: the device has not even the memory for one row.
            StoreError: the runtime cannot run the net, or that gives another number of rows.
        """
        names = list(outputs or self.outputs)
        rows = len(next(iter(inputs.values())))
        if not rows:
            one = self.run({name: _zeros(values) for name, values in inputs.items()}, names)
            return {name: values[:0] for name, values in one.items()}
        if takes_texts(inputs):
            runs = cut(inputs, range(rows), self.batch_size)
            return in_order(runs, [self.run_rows(inputs, each, names) for each in runs], rows)
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

    def run_rows(self, inputs: Mapping[str, np.ndarray], rows: Rows, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the outputs `names`, float32 [rows, dim], of some rows that `execute.shapes.cut` gave; of `spans` an
        array of arrays, float32 [tokens, labels], since texts are of different length.

        Raises:
            MemoryError, StoreError: as `run` does.
        """
        if not takes_texts(inputs):
            return self.run({name: values[rows] for name, values in inputs.items()}, names)
        count = len(inputs[LENGTHS_INPUT][rows])
        made = self._run(texts_of_a_run(inputs, rows, self.batch_size), names)
        return {name: _of_rows(values[:count]) for name, values in zip(names, made, strict=True)}

    def _run_padded(self, inputs: Mapping[str, np.ndarray], size: int, names: list[str]) -> list[np.ndarray]:
        count = len(next(iter(inputs.values())))
        if count not in (1, size):
            inputs = {name: _padded(values, size) for name, values in inputs.items()}
        return [result[:count] for result in self._run(inputs, names)]

    def _run(self, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> Sequence[np.ndarray]:
        assert self.runner is not None, "the session was closed"
        rows = len(next(iter(inputs.values())))
        try:
            results = self.runner.run(names, inputs)
        except MemoryError:
            raise
        except Exception as error:
            if not is_foreign(error):
                raise
            raise StoreError(f"{self.engine} cannot run the backbone: {reason(error)}") from error
        shapes = [np.shape(result) for result in results]
        ranks = [3 if name == SPANS_OUTPUT else 2 for name in names]
        if any(len(shape) != rank or shape[0] != rows for shape, rank in zip(shapes, ranks, strict=True)):
            raise StoreError(f"The backbone gives arrays of {shapes} for {rows} inputs, not a vector for each.")
        return results

    def close(self) -> None:
        """Free the model's memory."""
        self.runner = None


def _slice(inputs: Mapping[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: values[start:stop] for name, values in inputs.items()}


def in_order(runs: Sequence[Rows], parts: Sequence[Mapping[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """Return the outputs of runs, each in the rows that it was for, float32 [count, dim]."""
    made = {name: np.empty((count, *values.shape[1:]), values.dtype) for name, values in parts[0].items()}
    for rows, part in zip(runs, parts, strict=True):
        for name, values in part.items():
            made[name][rows] = values
    return made


def _of_rows(values: np.ndarray) -> np.ndarray:
    """Return what a run gives for its rows; where that is something of every token, as an array of arrays."""
    if values.ndim == 2:
        return values
    made = np.empty(len(values), object)
    for i, each in enumerate(values):
        made[i] = each
    return made


def _zeros(like: np.ndarray) -> np.ndarray:
    """Return one row of zeros; of texts, which stand in an array of arrays of their own length, one token."""
    return np.zeros((1, 1), np.int32) if like.dtype == object else _padded(like[:0], 1)


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    padded = np.zeros((rows, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded
