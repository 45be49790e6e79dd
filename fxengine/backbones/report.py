"""The export report: what a backbone file holds and how far it is from the framework that it came from."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from fxengine.backbones.prologue import PREFIX
from fxengine.backbones.spec import FEATURE_OUTPUT

_SMALL = 4096


@dataclass(frozen=True)
class ExportReport:
    """What an export made; `Facts.notes["export"]` holds it as JSON.

    Attributes:
        nodes: op -> how many nodes of it.
        opset: version of the ONNX operator set.
        bytes: size of the file.
        height: input height in pixels.
        width: input width in pixels.
        dim: numbers in a feature vector.
        parameters: numbers in the weights, the prologue's left out.
        multiply_adds: multiply-adds of convolutions and matrix products for one picture.
        differences: to the source framework on real photos, the worst photo each: "preprocessing_levels" (pixel
            levels), "relative" (||a-b||/||b|| of the features), "cosine".
        recipe: the way of converting that worked.
        failed: the ways tried before it.
    """

    nodes: dict[str, int]
    opset: int
    bytes: int
    height: int
    width: int
    dim: int
    parameters: int
    multiply_adds: int
    differences: dict[str, float] = field(default_factory=dict)
    recipe: str = ""
    failed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {**asdict(self), "failed": list(self.failed)}

    def to_text(self) -> str:
        """Return the report as lines for a person."""
        nodes = ", ".join(f"{count} {op}" for op, count in sorted(self.nodes.items(), key=lambda item: -item[1]))
        lines = [
            f"input {self.height}x{self.width}, features {self.dim}, opset {self.opset}, {self.bytes / 1e6:.1f} MB",
            f"{self.parameters / 1e6:.2f} M parameters, {self.multiply_adds / 1e6:.0f} M multiply-adds",
            f"{sum(self.nodes.values())} nodes: {nodes}",
        ]
        if self.recipe:
            lines.append(f"made by {self.recipe}" + "".join(f"; {way} failed" for way in self.failed))
        if self.differences:
            lines.append("difference: " + ", ".join(f"{k} {v:.3g}" for k, v in self.differences.items()))
        return "\n".join(lines)


def measure(model: onnx.ModelProto) -> ExportReport:
    """Return the report of a finished model: everything but the difference and how it was made."""
    graph = model.graph
    shapes = _shapes(model)
    weights = {tensor.name: tuple(tensor.dims) for tensor in _tensors(graph) if tensor.data_type in _FLOATS}
    _, height, width, _ = shapes[graph.input[0].name]
    return ExportReport(
        nodes=dict(Counter(node.op_type for node in graph.node)),
        opset=next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
        bytes=model.ByteSize(),
        height=height,
        width=width,
        dim=shapes[FEATURE_OUTPUT][-1],
        parameters=sum(math.prod(dims) for name, dims in weights.items() if not name.startswith(PREFIX)),
        multiply_adds=sum(_multiply_adds(node, shapes) for node in graph.node),
    )


def differences(ours: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return the worst photo's ||a-b||/||b|| and cosine of two feature tables [photo, number]."""
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    norm = np.maximum(np.linalg.norm(b, axis=1), 1e-30)
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1), 1e-30) / norm
    return {"relative": float((np.linalg.norm(a - b, axis=1) / norm).max()), "cosine": float(cosine.min())}


_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    constants = [n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]
    return [*graph.initializer, *constants]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return tensor -> shape at batch 1; 0 is an unknown length.

    The weights are left out of the copy that the shapes are inferred on: inference would copy them three times.
    """
    graph, source = onnx.GraphProto(), model.graph
    graph.name = "shapes"
    graph.node.extend(source.node)
    graph.output.extend(onnx.ValueInfoProto(name=output.name) for output in source.output)
    for value in source.input:
        dims = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        graph.input.append(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims))
    for tensor in source.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    light = helper.make_model(graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))
    inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    return found | {tensor.name: tuple(tensor.dims) for tensor in source.initializer}


def _multiply_adds(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Return the multiply-adds of one node at batch 1; 0 for ops that are no convolution or matrix product."""
    a, b = (shapes.get(name, ()) for name in (*node.input[:2], "", "")[:2])
    out = shapes.get(node.output[0], ())
    if node.op_type == "Conv":
        return math.prod(out[2:]) * math.prod(b)
    if node.op_type == "ConvTranspose":
        return math.prod(a[2:]) * math.prod(b)
    if node.op_type == "MatMul":
        return math.prod(out) * (a[-1] if a else 0)
    if node.op_type == "Gemm":
        swapped = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(out) * (a[0 if swapped else -1] if a else 0)
    return 0
