"""The head and the tail of every text backbone's graph: token ids in, what is no token left out of the mean."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.spec import EPILOGUE, LENGTHS_INPUT, PROLOGUE, TOKENS_INPUT

MASK = f"{PROLOGUE}mask"  # bool [batch, length]: whether there is a token
POSITIONS = f"{PROLOGUE}positions"  # int64 [length]: 0, 1, 2, ...


class Nodes:
    """Collects the nodes and weights of a part of a graph, whose names begin alike."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray | np.generic | list[int]) -> str:
        """Add a weight and return its name; whole numbers are int64."""
        array = np.asarray(value, np.int64) if isinstance(value, list) else np.asarray(value)
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), self.named(name))
        )
        return self.named(name)

    def node(self, op: str, inputs: list[str], output: str, **attributes: int | float | list[int]) -> str:
        """Add a node and return the name of what it gives."""
        made = helper.make_node(op, inputs, [self.named(output)], name=self.named(output))
        made.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(made)
        return self.named(output)

    def named(self, name: str) -> str:
        """Return a name with the prefix."""
        return self.prefix + name


def text_inputs() -> list[onnx.ValueInfoProto]:
    """Return the graph's inputs: `tokens` int32 [batch, length] and `lengths` int32 [batch]."""
    return [
        helper.make_tensor_value_info(TOKENS_INPUT, TensorProto.INT32, ["batch", "length"]),
        helper.make_tensor_value_info(LENGTHS_INPUT, TensorProto.INT32, ["batch"]),
    ]


def text_prologue() -> Nodes:
    """Return the nodes that compute `MASK` and `POSITIONS` from the inputs."""
    made = Nodes(PROLOGUE)
    zero, one = made.constant("zero", np.int64(0)), made.constant("one", np.int64(1))
    shape = made.node("Shape", [TOKENS_INPUT], "shape")
    length = made.node("Gather", [shape, one], "length")
    positions = made.node("Range", [zero, length, one], "positions")
    counts = made.node("Cast", [LENGTHS_INPUT], "lengths", to=TensorProto.INT64)
    column = made.node("Unsqueeze", [counts, made.constant("axis", [1])], "column")
    made.node("Less", [positions, column], "mask")
    return made


def mean_over_tokens(hidden: str, output: str, prefix: str = EPILOGUE, mask: str = MASK) -> Nodes:
    """Return the nodes that compute `output`, float32 [batch, dim]: the mean of `hidden`, float32 [batch, length, dim],
    over the tokens that are there; zeros where there is none.
    """
    made = Nodes(prefix)
    ones = made.node("Cast", [mask], "mask", to=TensorProto.FLOAT)
    there = made.node("Unsqueeze", [ones, made.constant("last", [2])], "there")
    kept = made.node("Mul", [hidden, there], "kept")
    total = made.node("ReduceSum", [kept, made.constant("tokens", [1])], "total", keepdims=0)
    counts = made.node("Cast", [LENGTHS_INPUT], "counts", to=TensorProto.FLOAT)
    column = made.node("Unsqueeze", [counts, made.constant("axis", [1])], "column")
    least = made.node("Max", [column, made.constant("one", np.float32(1))], "divisor")
    made.nodes.append(helper.make_node("Div", [total, least], [output], name=made.named("mean")))
    return made
