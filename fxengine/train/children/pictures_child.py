"""Pictures to train on, for the training process only: as its net takes them, from an array on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

Job = dict[str, Any]
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_TRAIN = 0


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

    def inputs(self, rows: tf.Tensor, change: Change | None) -> tf.Tensor:
        """Return some pictures as the net takes them, changed where they are to be."""
        found = tf.numpy_function(lambda i: self.images[i], [rows], tf.uint8)
        pictures = tf.cast(tf.ensure_shape(found, (None, *self.images.shape[1:])), tf.float32)
        return self.prepared(pictures if change is None else change(pictures, rows))

    def prepared(self, pictures: tf.Tensor) -> tf.Tensor:
        """Return pictures as the net takes them, from 0 to 255 in RGB."""
        pictures = pictures[..., ::-1] if self.pixels["bgr"] else pictures
        return (pictures - tf.constant(self.pixels["mean"], tf.float32)) / tf.constant(self.pixels["std"], tf.float32)


def read(folder: Path, layout: Any, pixels: Job) -> Pictures:
    """Return the pictures that the engine prepared."""
    images = np.load(folder / layout.IMAGES, mmap_mode="r")
    with np.load(folder / layout.ARRAYS) as arrays:
        targets, split, weight = (arrays[name] for name in ("targets", "split", "weight"))
        return Pictures(images, targets, split, weight, str(arrays["kind"]), pixels)


def draw_samples(data: Pictures, changes: list[Change], path: Path) -> None:
    """Write the training pictures, each as it is and changed, uint8 [pictures, 1 + changes, height, width, 3]."""
    rows = data.rows(_TRAIN)
    plain = np.asarray(data.images[rows], np.float32)
    shown = [plain, *(np.asarray(change(tf.constant(plain), tf.constant(rows))) for change in changes)]
    np.save(path, np.stack(shown, axis=1).round().astype(np.uint8))
