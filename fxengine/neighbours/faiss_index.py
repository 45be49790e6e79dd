"""What is used of a FAISS index, whose own types say too little."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class FaissIndex(Protocol):
    """A FAISS index of any kind; it numbers its vectors from 0, and takes them as `metric.prepare` makes them."""

    @property
    def ntotal(self) -> int:
        """How many vectors it holds."""

    def train(self, x: np.ndarray, /) -> None:
        """Learn from float32 [n, dim]."""

    def add(self, x: np.ndarray, /) -> None:
        """Add float32 [n, dim]."""

    def search(self, x: np.ndarray, k: int, /, *, params: object = None) -> tuple[np.ndarray, np.ndarray]:
        """Return distances, float32 [queries, k], and numbers of the nearest, int64 [queries, k], -1 for none."""

    def reset(self) -> None:
        """Forget all vectors, not what was learnt."""
