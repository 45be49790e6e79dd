"""Random changes of pictures, for the training process only."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

_LEVELS = (0.0, 255.0)
_CROP = 0.8  # of each edge


def augmenter(names: list[str], seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function from a batch of pictures, float32 [batch, height, width, 3] in 0 to 255, to changed ones.

    Gaps that a turn or a shift leaves are filled by the mirrored picture.
    """
    layers = [_LAYERS[name](seed + i) for i, name in enumerate(names) if name != "crop"]

    def change(pictures: tf.Tensor) -> tf.Tensor:
        if "crop" in names:
            pictures = _cropped(pictures)
        for layer in layers:
            pictures = layer(pictures, training=True)
        return tf.clip_by_value(pictures, *_LEVELS)

    return change


_LAYERS: dict[str, Callable[[int], keras.Layer]] = {
    "flip": lambda seed: keras.layers.RandomFlip("horizontal", seed=seed),
    "rotation": lambda seed: keras.layers.RandomRotation(0.06, seed=seed),
    "zoom": lambda seed: keras.layers.RandomZoom((-0.15, 0.05), seed=seed),
    "shift": lambda seed: keras.layers.RandomTranslation(0.08, 0.08, seed=seed),
    "shear": lambda seed: keras.layers.RandomShear(0.1, 0.1, fill_mode="reflect", seed=seed),
    "brightness": lambda seed: keras.layers.RandomBrightness(0.15, value_range=_LEVELS, seed=seed),
    "contrast": lambda seed: keras.layers.RandomContrast(0.2, value_range=_LEVELS, seed=seed),
    "grey": lambda seed: keras.layers.RandomGrayscale(0.2, seed=seed),
}


def _cropped(pictures: tf.Tensor) -> tf.Tensor:
    """Cut one random window out of the whole batch and enlarge it."""
    batch, height, width = (tf.shape(pictures)[i] for i in range(3))
    size = [tf.cast(_CROP * tf.cast(edge, tf.float32), tf.int32) for edge in (height, width)]
    cut = tf.image.random_crop(pictures, [batch, *size, 3])
    return tf.image.resize(cut, [height, width])
