"""Random changes of pictures, for the training process only.

All that is random about them is drawn beforehand, from the seed, the epoch and the picture's number: so the same seed
gives the same pictures, whatever threads come first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_LEVELS = (0.0, 255.0)
_TURN, _ZOOM, _SHIFT, _SHEAR = 0.06 * 2 * np.pi, (0.85, 1.05), 0.08, 0.1  # radians, scales, shares of an edge, slopes
_BRIGHTER, _CONTRAST, _GREY = 0.15 * 255, (0.8, 1.2), 0.2
_CROP = 0.8  # of each edge
_LUMA = (0.2989, 0.587, 0.114)
_DRAWN = ("flip", "rotation", "zoom", "shift", "shift_y", "shear", "shear_y", "brightness", "contrast", "grey", "crop",
          "crop_y")  # fmt: skip
NAMES = tuple(name for name in _DRAWN if not name.endswith("_y"))


def drawn(pictures: int, seed: int, epoch: int) -> np.ndarray:
    """Return what is random about every picture in an epoch, float32 [pictures, numbers], from 0 to 1."""
    return np.random.default_rng([seed, epoch]).random((pictures, len(_DRAWN)), np.float32)


def augmenter(names: list[str], numbers: np.ndarray) -> Change:
    """Return a function from pictures, float32 [batch, height, width, 3] in 0 to 255, and their rows to changed ones.

    Turn, zoom, shift, shear, crop and flip are one resampling; gaps that they leave are filled by the mirrored picture.

    Args:
        names: some of `NAMES`.
        numbers: of every picture, see `drawn`.
    """

    def change(pictures: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        chance = dict(zip(_DRAWN, tf.unstack(tf.gather(numbers, rows), axis=1), strict=True))
        if not _MOVES.isdisjoint(names):
            pictures = _moved(pictures, names, chance)
        if "contrast" in names:
            mean = tf.reduce_mean(pictures, axis=[1, 2], keepdims=True)
            pictures = (pictures - mean) * _each(_between(chance["contrast"], *_CONTRAST)) + mean
        if "brightness" in names:
            pictures += _each(_between(chance["brightness"], -_BRIGHTER, _BRIGHTER))
        if "grey" in names:
            grey = tf.reduce_sum(pictures * tf.constant(_LUMA), axis=-1, keepdims=True)
            pictures = tf.where(_each(chance["grey"]) < _GREY, tf.broadcast_to(grey, tf.shape(pictures)), pictures)
        return tf.clip_by_value(pictures, *_LEVELS)

    return change


_MOVES = {"flip", "rotation", "zoom", "shift", "shear", "crop"}


def _moved(pictures: tf.Tensor, names: list[str], chance: dict[str, tf.Tensor]) -> tf.Tensor:
    """Resample every picture through one affine map, which says where each pixel comes from."""

    def number(name: str, low: float, high: float, of: str = "") -> tf.Tensor:
        return _between(chance[name], low, high) if (of or name) in names else tf.zeros_like(chance[name])

    height, width = (tf.cast(edge, tf.float32) for edge in tf.unstack(tf.shape(pictures)[1:3]))
    angle = number("rotation", -_TURN, _TURN)
    shear_x, shear_y = number("shear", -_SHEAR, _SHEAR), number("shear_y", -_SHEAR, _SHEAR, "shear")
    scale = (1 + number("zoom", _ZOOM[0] - 1, _ZOOM[1] - 1)) * (_CROP if "crop" in names else 1.0)
    cos, sin = scale * tf.cos(angle), scale * tf.sin(angle)
    mirror = tf.where(chance["flip"] < 0.5, -1.0, 1.0) if "flip" in names else tf.ones_like(angle)
    a, b = (cos - sin * shear_y) * mirror, cos * shear_x - sin
    c, d = (sin + cos * shear_y) * mirror, sin * shear_x + cos
    rest = (1 - _CROP) / 2
    right = (number("shift", -_SHIFT, _SHIFT) + number("crop", -rest, rest)) * width
    down = (number("shift_y", -_SHIFT, _SHIFT, "shift") + number("crop_y", -rest, rest, "crop")) * height
    x, y = (width - 1) / 2, (height - 1) / 2  # the middle stays
    nothing = tf.zeros_like(angle)
    maps = tf.stack([a, b, x - a * x - b * y + right, c, d, y - c * x - d * y + down, nothing, nothing], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pictures, transforms=maps, output_shape=tf.shape(pictures)[1:3], fill_value=0.0,
        interpolation="BILINEAR", fill_mode="REFLECT",
    )  # fmt: skip


def _between(chance: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + chance * (high - low)


def _each(numbers: tf.Tensor) -> tf.Tensor:
    """Return a number of every picture so that it counts for each of its pixels."""
    return numbers[:, None, None, None]
