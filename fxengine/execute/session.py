"""A loaded backbone, the same for every runtime: a uint8 batch in, float32 vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CPU_BATCH = 4  # the activations of more pictures leave the processor's cache
GPU_BATCH = 128


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
    """

    provider: str
    precision: str
    engine: str
    outputs: tuple[str, ...]
    batch_size: int
    streams: int
    _session: Any

    def run(self, images: np.ndarray, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return output name -> float32 [n, dim], rows in the order of `images`, uint8 [n, height, width, 3].

        Only two shapes ever reach the runtime, `batch_size` rows and 1 row: a short batch is padded and cut.

        Raises:
            MemoryError: the device has not even the memory for one row.
        """
        names = list(outputs or self.outputs)
        if not len(images):
            one = self.run(np.zeros((1, *images.shape[1:]), np.uint8), names)
            return {name: values[:0] for name, values in one.items()}
        size = self.batch_size
        try:
            parts = [self._run_padded(images[i : i + size], size, names) for i in range(0, len(images), size)]
        except MemoryError:
            if size == 1:
                raise
            self.batch_size = min(self.batch_size, size // 2)
            return self.run(images, names)
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}

    def _run_padded(self, images: np.ndarray, size: int, names: list[str]) -> list[np.ndarray]:
        count = len(images)
        if count not in (1, size):
            padded = np.zeros((size, *images.shape[1:]), np.uint8)
            padded[:count] = images
            images = padded
        results: list[np.ndarray] = self._session.run(names, {"images": images})
        return [result[:count] for result in results]

    def close(self) -> None:
        """Free the model's memory."""
        self._session = None
