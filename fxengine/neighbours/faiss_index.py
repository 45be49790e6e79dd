"""What is used of a FAISS index, whose own types say too little."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def in_words() -> Iterator[None]:
    """Leave away the C++ signature, file and condition before what FAISS says where it fails inside the block."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(faiss_reason(error)) from error


def faiss_reason(error: Exception) -> str:
    """Return what FAISS says, without the C++ signature, file and condition before it."""
    text = " ".join(str(error).split())
    said = re.split(r" failed: |Error: |\.(?:cpp|h):\d+: ", text)[-1]
    return said.strip().rstrip(".")[:200] or "it does not say why"
