"""Files of word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_vectors(path: Path, words: Sequence[str], vectors: np.ndarray) -> Path:
    """Write a file as GloVe writes it."""
    lines = (" ".join([word, *map(repr, row)]) for word, row in zip(words, vectors.tolist(), strict=True))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return path


def some_vectors(count: int, dim: int = 4, seed: int = 3) -> np.ndarray:
    """Return float32 [count, dim] with six decimals, no two alike."""
    return np.round(np.random.default_rng(seed).normal(0, 1, (count, dim)), 6).astype(np.float32)
