"""A bidirectional LSTM in numpy, as Keras computes it: the judge of the exported ones."""

from __future__ import annotations

import numpy as np

from fxengine.backbones.graph.recurrent import LstmWeights


def random_lstm(rng: np.random.Generator, dim: int, units: int) -> LstmWeights:
    """Return the weights of one direction."""
    shapes = (dim, 4 * units), (units, 4 * units), (4 * units,)
    return LstmWeights(*(rng.normal(0, 0.7, shape).astype(np.float32) for shape in shapes))


def bilstm_features(words: np.ndarray, forward: LstmWeights, backward: LstmWeights) -> np.ndarray:
    """Return the last states of both directions, float64 [2 * units], of the vectors of a text's words [n, dim]."""
    return np.concatenate([_last(words, forward), _last(words[::-1], backward)])


def _last(words: np.ndarray, weights: LstmWeights) -> np.ndarray:
    state = memory = np.zeros(weights.units)
    for word in words.astype(np.float64):
        gates = word @ weights.kernel + state @ weights.recurrent + weights.bias
        into, forget, cell, out = np.split(gates, 4)  # Keras's order
        memory = _sigmoid(forget) * memory + _sigmoid(into) * np.tanh(cell)
        state = _sigmoid(out) * np.tanh(memory)
    return state


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
