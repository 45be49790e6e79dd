"""Nets over word vectors, for the training process only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Job = dict[str, Any]
KIND = "words"
_DROPOUT = 0.5
_SAMPLES = 16  # texts that the exported net is compared on


def mean_of_words(tokens: Any, words: Any) -> Any:
    """Return the mean over the words that are there; zeros where there is none: Keras's own layer gives no number."""
    there = keras.ops.expand_dims(keras.ops.cast(keras.ops.not_equal(tokens, 0), words.dtype), -1)
    return keras.ops.sum(words * there, axis=1) / keras.ops.maximum(keras.ops.sum(there, axis=1), 1.0)


@dataclass(frozen=True)
class TextNet:
    """A net over word vectors: `features` is the model without its head, `middle` what is between words and head."""

    model: keras.Model
    features: keras.Model
    embedding: keras.Layer
    middle: keras.Layer
    head: keras.Layer

    @property
    def trained(self) -> list[str]:
        """Names of the layers that train, the head left out."""
        return [layer.name for layer in (self.embedding, self.middle) if layer.trainable_weights]

    def weights(self) -> dict[str, np.ndarray]:
        """Return what an export needs: the vectors of the words, and the weights of the layer behind them."""
        found = {"table": self.embedding.get_weights()[0][1:]}
        if isinstance(self.middle, keras.layers.Bidirectional):
            for name, layer in (("forward", self.middle.forward_layer), ("backward", self.middle.backward_layer)):
                found |= {f"{name}_{part}": np.asarray(w) for part, w in zip(_LSTM, layer.get_weights(), strict=True)}
        else:
            found |= dict(zip(("dense_weights", "dense_bias"), self.middle.get_weights(), strict=True))
        return found


_LSTM = ("kernel", "recurrent", "bias")


def build(job: Job, table: np.ndarray, outputs: int) -> TextNet:
    """Return the net of Keras's guides: word vectors, what makes one vector of them, dropout, and a dense head.

    Args:
        job: `net`, "bilstm" (the last states of both directions of an LSTM) or "average" (the mean of the words, then a
            dense layer with ReLU); `units` of it; `frozen`, whether the word vectors stay as they are.
        table: vectors of the words, float32 [words, dim].
        outputs: numbers that the head gives.
    """
    tokens = keras.Input((None,), dtype="int32")
    padding = np.zeros_like(table[:1])
    embedding = keras.layers.Embedding(
        len(table) + 1, table.shape[1], mask_zero=True, trainable=not job["frozen"], name="words"
    )
    words = embedding(tokens)
    embedding.set_weights([np.concatenate([padding, table])])
    if job["net"] == "bilstm":
        middle = keras.layers.Bidirectional(keras.layers.LSTM(job["units"]), name="lstm")
        features = middle(words)
    else:
        middle = keras.layers.Dense(job["units"], activation="relu", name="dense")
        features = middle(mean_of_words(tokens, words))
    head = keras.layers.Dense(outputs, name="fx_head")
    answers = head(keras.layers.Dropout(_DROPOUT, name="fx_dropout")(features))
    return TextNet(keras.Model(tokens, answers), keras.Model(tokens, features), embedding, middle, head)


def samples(net: TextNet, data: Any) -> dict[str, np.ndarray]:
    """Return numbers of rows of all lengths, and what Keras makes of them side by side, on the processor."""
    order = np.argsort(np.diff(data.starts), kind="stable")
    rows = np.unique(order[np.linspace(0, len(order) - 1, _SAMPLES).round().astype(int)])
    with tf.device("CPU:0"):
        found = net.features(tf.constant(data.padded(rows)), training=False)
    return {"sample": rows, "features": np.asarray(found, np.float32)}
