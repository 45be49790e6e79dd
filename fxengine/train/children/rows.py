"""Rows to train on, as the engine prepared them, for the training processes only; numpy alone reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Job = dict[str, Any]
_LEARNED = ("targets", "split", "weight")


@dataclass(frozen=True)
class Pictures:
    """Pictures of the input size, uint8 [n, height, width, 3] mapped from disk, and what to learn of them.

    `targets` is float32 [n, outputs]: one-hot classes, labels of 0 and 1, or numbers; `pixels` how they are prepared.
    """

    images: np.ndarray
    targets: np.ndarray
    split: np.ndarray
    weight: np.ndarray
    kind: str
    pixels: Job

    def rows(self, side: int) -> np.ndarray:
        """Return the rows of one side."""
        return np.flatnonzero(self.split == side)

    def alike(self, rows: np.ndarray) -> np.ndarray:
        """Return places of these rows as they are: all take as long."""
        return np.arange(len(rows))


@dataclass(frozen=True)
class Texts:
    """Tokens of texts, and what to learn of them.

    Row i has `tokens[starts[i] : starts[i + 1]]`, int32; the rest is as for pictures.
    """

    tokens: np.ndarray
    starts: np.ndarray
    targets: np.ndarray
    split: np.ndarray
    weight: np.ndarray
    kind: str

    def rows(self, side: int) -> np.ndarray:
        """Return the rows of one side."""
        return np.flatnonzero(self.split == side)

    def alike(self, rows: np.ndarray) -> np.ndarray:
        """Return places of these rows, the shortest first: little of a batch is padding then."""
        return np.argsort(self.starts[rows + 1] - self.starts[rows], kind="stable")

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """Return some texts, int32 [rows, longest]: 0 is padding, and a token is its number and 1."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        made = np.zeros((len(rows), max(1, int(lengths.max(initial=0)))), np.int32)
        for row, start, length in zip(made, self.starts[rows], lengths, strict=True):
            row[:length] = self.tokens[start : start + length] + 1
        return made


def read_pictures(folder: Path, layout: Any, pixels: Job) -> Pictures:
    """Return the pictures that the engine prepared."""
    images = np.load(folder / layout.IMAGES, mmap_mode="r")
    with np.load(folder / layout.ARRAYS) as arrays:
        targets, split, weight = (arrays[name] for name in _LEARNED)
        return Pictures(images, targets, split, weight, str(arrays["kind"]), pixels)


def read_texts(folder: Path, layout: Any) -> Texts:
    """Return the texts that the engine prepared."""
    with np.load(folder / layout.ARRAYS) as arrays:
        targets, split, weight = (arrays[name] for name in _LEARNED)
        return Texts(arrays["tokens"], arrays["starts"], targets, split, weight, str(arrays["kind"]))


def head_of(folder: Path, layout: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the probe's weights [outputs, dim] and bias, with which the head begins."""
    with np.load(folder / layout.ARRAYS) as arrays:
        return arrays["head_weights"], arrays["head_bias"]
