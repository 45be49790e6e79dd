"""Builds the ONNX graph of a head, from `features` on; every operator means the same from opset 13 on."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.model import make_model

INPUT = "features"


class HeadGraph:
    """Collects nodes and constants; every method returns the name of the tensor that it made."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """Add a constant."""
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: int) -> str:
        """Add a node; of several outputs the last one's name is returned."""
        names = [f"{op.lower()}{len(self._nodes)}_{i}" for i in range(outputs)]
        made = helper.make_node(op, list(inputs), names)
        made.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(made)
        return names[-1]

    def unit(self, x: str) -> str:
        """Divide every row by its length; a zero row stays zero."""
        squares = self.node("ReduceSum", self.node("Mul", x, x), self.constant([1], np.int64), keepdims=1)
        length = self.node("Max", self.node("Sqrt", squares), self.constant(1e-12))
        return self.node("Div", x, length)

    def dense(self, x: str, weights: np.ndarray, bias: np.ndarray) -> str:
        """Return x weights^T + bias; weights [outputs, inputs], bias [outputs]."""
        return self.node("Gemm", x, self.constant(weights), self.constant(bias), transB=1)

    def softmax(self, x: str) -> str:
        """Return the softmax over the last axis."""
        return self.node("Softmax", x, axis=1)

    def sigmoid(self, x: str) -> str:
        """Return the logistic function of every number."""
        # ONNX Runtime's own is made for activations: up to 10% off from -10 to -14, and 0 below -18.
        minus = self.node("Max", self.node("Mul", x, self.constant(-1)), self.constant(-80))  # e^80 is a float32
        power = self.node("Exp", self.node("Mul", minus, self.constant(-1)))
        return self.node("Div", power, self.node("Sub", power, self.constant(-1)))

    def model(self, tensor: str, output: str, width: int) -> onnx.ModelProto:
        """Return the finished model whose one output is `tensor`, float32 [batch, width], under the name `output`."""
        self._nodes.append(helper.make_node("Identity", [tensor], [output]))
        graph = helper.make_graph(
            self._nodes,
            "head",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", self.dim])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
            self._constants,
        )
        model = make_model(graph)
        onnx.checker.check_model(model, full_check=True)
        return model
