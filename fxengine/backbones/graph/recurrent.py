"""A bidirectional LSTM as ONNX's own operator, from the weights of Keras's layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import helper

from fxengine.backbones.graph.texts import Nodes
from fxengine.backbones.spec import FEATURE_OUTPUT, LENGTHS_INPUT, TOKENS_INPUT

# Keras has the weights of the gates in the order input, forget, cell, output; ONNX input, output, forget, cell.
_GATES = (0, 3, 1, 2)


@dataclass(frozen=True)
class LstmWeights:
    """The weights of one direction as Keras has them, the four gates beside each other.

    Attributes:
        kernel: of what comes in, float32 [dim, 4 * units].
        recurrent: of the state, float32 [units, 4 * units].
        bias: float32 [4 * units].
    """

    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray

    @property
    def units(self) -> int:
        """Numbers of the state."""
        return len(self.recurrent)


def bidirectional_lstm(table: str, forward: LstmWeights, backward: LstmWeights) -> Nodes:
    """Return the nodes that compute `features`, float32 [batch, 2 * units]: the last states of both directions.

    Each row is read as far as its own length says, backward from its own end, so that padding changes nothing.

    Args:
        table: name of the vectors of the tokens, float32 [tokens, dim].
        forward: weights of the direction that reads from the first token on.
        backward: of the other one.
    """
    made = Nodes("lstm/")
    both = (forward, backward)
    weights = [
        made.constant("weights", np.stack([_by_gate(one.kernel.T) for one in both])),
        made.constant("recurrent", np.stack([_by_gate(one.recurrent.T) for one in both])),
        # A second bias is added to the state's product; Keras has one for both.
        made.constant("bias", np.stack([np.append(_by_gate(one.bias), np.zeros_like(one.bias)) for one in both])),
    ]
    # ONNX Runtime takes the tokens first and the batch second; it is the token ids that are cheap to turn.
    turned = made.node("Transpose", [TOKENS_INPUT], "tokens", perm=[1, 0])
    words = made.node("Gather", [table, turned], "words", axis=0)
    last = made.named("last")
    both_ways = helper.make_node(
        "LSTM",
        [words, *weights, LENGTHS_INPUT],
        ["", last],
        name=made.named("both"),
        direction="bidirectional",
        hidden_size=forward.units,
    )
    made.nodes.append(both_ways)
    rows = made.node("Transpose", [last], "rows", perm=[1, 0, 2])
    side_by_side = made.constant("shape", [0, 2 * forward.units])
    made.nodes.append(helper.make_node("Reshape", [rows, side_by_side], [FEATURE_OUTPUT], name=made.named("features")))
    return made


def _by_gate(values: np.ndarray) -> np.ndarray:
    """Return weights [4 * units, ...] in ONNX's order of the gates."""
    parts = np.split(values, 4)
    return np.concatenate([parts[gate] for gate in _GATES])
