"""Rows as Keras's nets take them, for the training process only: read, changed and prepared by TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Inputs = Callable[[tf.Tensor, "Change | None"], tf.Tensor]


def of_pictures(data: Any) -> Inputs:
    """Return what makes inputs of some rows of pictures, float32 [rows, height, width, 3], changed where wanted."""

    def inputs(rows: tf.Tensor, change: Change | None) -> tf.Tensor:
        found = tf.numpy_function(lambda i: data.images[i], [rows], tf.uint8)
        pictures = tf.cast(tf.ensure_shape(found, (None, *data.images.shape[1:])), tf.float32)
        return prepared(pictures if change is None else change(pictures, rows), data.pixels)

    return inputs


def of_texts(data: Any) -> Inputs:
    """Return what makes inputs of some rows of texts, int32 [rows, longest]; nothing changes texts."""

    def inputs(rows: tf.Tensor, change: Change | None) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(data.padded, [rows], tf.int32), (None, None))

    return inputs


def prepared(pictures: tf.Tensor, pixels: dict[str, Any]) -> tf.Tensor:
    """Return pictures as the net takes them, from 0 to 255 in RGB."""
    pictures = pictures[..., ::-1] if pixels["bgr"] else pictures
    return (pictures - tf.constant(pixels["mean"], tf.float32)) / tf.constant(pixels["std"], tf.float32)


def changing(wanted: Any, levels: tuple[float, float], luma: tuple[float, float, float]) -> Change:
    """Return a function from pictures, float32 [batch, height, width, 3] in 0 to 255, and their rows to changed ones.

    Args:
        wanted: the `Changes` of all pictures.
        levels: the least and the greatest level.
        luma: how much each colour counts for grey.
    """

    def change(pictures: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        def each(numbers: np.ndarray) -> tf.Tensor:
            return tf.gather(numbers, rows)[:, None, None, None]

        if wanted.maps is not None:
            maps = tf.pad(tf.gather(wanted.maps, rows), [[0, 0], [0, 2]])
            pictures = tf.raw_ops.ImageProjectiveTransformV3(
                images=pictures, transforms=maps, output_shape=tf.shape(pictures)[1:3], fill_value=0.0,
                interpolation="BILINEAR", fill_mode="REFLECT",
            )  # fmt: skip
        if wanted.contrast is not None:
            mean = tf.reduce_mean(pictures, axis=[1, 2], keepdims=True)
            pictures = (pictures - mean) * each(wanted.contrast) + mean
        if wanted.brightness is not None:
            pictures += each(wanted.brightness)
        if wanted.grey is not None:
            grey = tf.reduce_sum(pictures * tf.constant(luma), axis=-1, keepdims=True)
            pictures = tf.where(each(wanted.grey), tf.broadcast_to(grey, tf.shape(pictures)), pictures)
        return tf.clip_by_value(pictures, *levels)

    return change
