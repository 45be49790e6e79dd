"""How the vectors of a text's tokens become one vector, and the layers of weights behind that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from fxengine.backbones.graph.texts import MASK, Nodes, mean_over_tokens
from fxengine.backbones.spec import EPILOGUE, LENGTHS_INPUT

# How tokens become a vector, by the words of options and facts, in the order in which several are put together.
POOLINGS = ("cls", "max", "avg", "sqrt", "weighted", "last")
ACTIVATIONS = {"Identity": "", "Tanh": "Tanh", "ReLU": "Relu", "Sigmoid": "Sigmoid"}  # torch's name -> operator
_LEAST = -1e9  # what stands for what is no token, where the largest is taken


@dataclass(frozen=True)
class Dense:
    """A layer behind the pooling.

    Attributes:
        weights: float32 [outputs, inputs].
        bias: float32 [outputs]; None: there is none.
        activation: one of `ACTIVATIONS`.
    """

    weights: np.ndarray
    bias: np.ndarray | None
    activation: str


def pool(hidden: str, output: str, how: Sequence[str], prefix: str = EPILOGUE, mask: str = MASK) -> Nodes:
    """Return the nodes that compute `output`, float32 [batch, dim], from the vectors of tokens.

    Args:
        hidden: [batch, length, dim], of any kind of float.
        output: the name of what is made.
        how: some of `POOLINGS`, whose vectors are put behind each other.
        prefix: of the names of the nodes.
        mask: [batch, length], of what is a token.
    """
    made = Nodes(prefix)
    exact = made.node("Cast", [hidden], "exact", to=TensorProto.FLOAT)
    parts = [output] if len(how) == 1 else [f"{prefix}{each}" for each in how]
    for each, part in zip(how, parts, strict=True):
        inner = _PARTS[each](exact, part, f"{prefix}{each}/", mask)
        made.nodes += inner.nodes
        made.initializers += inner.initializers
    if len(how) > 1:
        made.nodes.append(helper.make_node("Concat", parts, [output], name=made.named("together"), axis=1))
    return made


def dense(vector: str, output: str, layers: Sequence[Dense], prefix: str = f"{EPILOGUE}dense/") -> Nodes:
    """Return the nodes that compute `output` by these layers, at least one, from a vector, float32 [batch, dim]."""
    made, current = Nodes(prefix), vector
    for i, layer in enumerate(layers):
        current = made.node("MatMul", [current, made.constant(f"weights{i}", layer.weights.T)], f"product{i}")
        if layer.bias is not None:
            current = made.node("Add", [current, made.constant(f"bias{i}", layer.bias)], f"sum{i}")
        if ACTIVATIONS[layer.activation]:
            current = made.node(ACTIVATIONS[layer.activation], [current], f"active{i}")
    made.nodes.append(helper.make_node("Identity", [current], [output], name=made.named("end")))
    return made


def _first(hidden: str, output: str, prefix: str, mask: str) -> Nodes:
    made = Nodes(prefix)
    first = made.constant("first", np.int64(0))
    made.nodes.append(helper.make_node("Gather", [hidden, first], [output], name=made.named("first_of"), axis=1))
    return made


def _last(hidden: str, output: str, prefix: str, mask: str) -> Nodes:
    made = Nodes(prefix)
    counts = made.node("Cast", [LENGTHS_INPUT], "counts", to=TensorProto.INT64)
    last = made.node("Sub", [counts, made.constant("one", np.int64(1))], "last")
    column = made.node("Unsqueeze", [last, made.constant("axis", [1])], "column")
    made.nodes.append(
        helper.make_node("GatherND", [hidden, column], [output], name=made.named("last_of"), batch_dims=1)
    )
    return made


def _largest(hidden: str, output: str, prefix: str, mask: str) -> Nodes:
    """Take the largest by a pool: it is said alike in every opset, which ReduceMax is not."""
    made = Nodes(prefix)
    there = made.node("Cast", [mask], "there", to=TensorProto.BOOL)
    column = made.node("Unsqueeze", [there, made.constant("last", [2])], "column")
    kept = made.node("Where", [column, hidden, made.constant("least", np.float32(_LEAST))], "kept")
    turned = made.node("Transpose", [kept], "turned", perm=[0, 2, 1])
    largest = made.node("GlobalMaxPool", [turned], "largest")
    made.nodes.append(helper.make_node("Flatten", [largest], [output], name=made.named("flat"), axis=1))
    return made


def _mean(hidden: str, output: str, prefix: str, mask: str) -> Nodes:
    return mean_over_tokens(hidden, output, prefix, mask)


def _by_root(hidden: str, output: str, prefix: str, mask: str) -> Nodes:
    """Divide the sum by the root of how many there are: the mean times that root."""
    made = mean_over_tokens(hidden, f"{prefix}mean_of", prefix, mask)
    root = made.node("Sqrt", [made.named("divisor")], "root")
    made.nodes.append(helper.make_node("Mul", [f"{prefix}mean_of", root], [output], name=made.named("by_root")))
    return made


def _weighted(hidden: str, output: str, prefix: str, mask: str) -> Nodes:
    """Take the mean where the first token counts once, the second twice, and so on."""
    made = Nodes(prefix)
    ones = made.node("Cast", [mask], "ones", to=TensorProto.FLOAT)
    places = made.node("CumSum", [ones, made.constant("axis", np.int64(1))], "places")
    weights = made.node("Mul", [places, ones], "weights")
    column = made.node("Unsqueeze", [weights, made.constant("last", [2])], "column")
    kept = made.node("Mul", [hidden, column], "kept")
    over = made.constant("tokens", [1])
    total = made.node("ReduceSum", [kept, over], "total", keepdims=0)
    weight = made.node("ReduceSum", [weights, over], "weight", keepdims=1)
    divisor = made.node("Max", [weight, made.constant("one", np.float32(1))], "divisor")
    made.nodes.append(helper.make_node("Div", [total, divisor], [output], name=made.named("mean")))
    return made


_PARTS = {"cls": _first, "max": _largest, "avg": _mean, "sqrt": _by_root, "weighted": _weighted, "last": _last}
