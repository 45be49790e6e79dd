"""The export report: what a backbone file holds and how far it is from the framework that it came from."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.graph.run import run_tensors
from fxengine.backbones.graph.surgery import all_nodes, attribute, inferred, tensor_shapes
from fxengine.backbones.spec import FEATURE_OUTPUT, PROLOGUE
from fxengine.facts import facts_from

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
        multiply_adds: multiply-adds of convolutions and matrix products for one picture; None where not known.
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
    multiply_adds: int | None
    differences: dict[str, float] = field(default_factory=dict)
    recipe: str = ""
    failed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {**asdict(self), "failed": list(self.failed)}

    @classmethod
    def from_dict(cls, values: object) -> ExportReport:
        """Rebuild a report from its JSON values; what this version does not know is left out.

        Raises:
            FactsError: an entry is missing or not of its type.
        """
        if isinstance(values, dict):
            values = {"format": 1, **{entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}}
        return facts_from(cls, values, 1)

    @property
    def _input(self) -> str:
        return f"input {self.height}x{self.width}" if self.height else "input of token ids"

    def to_text(self) -> str:
        """Return the report as lines for a person."""
        products = "unknown" if self.multiply_adds is None else f"{self.multiply_adds / 1e6:.0f} M"
        nodes = ", ".join(f"{count} {op}" for op, count in sorted(self.nodes.items(), key=lambda item: -item[1]))
        lines = [
            f"{self._input}, features {self.dim}, opset {self.opset}, {self.bytes / 1e6:.1f} MB",
            f"{self.parameters / 1e6:.2f} M parameters, {products} multiply-adds",
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
    weights = {
        t.name: tuple(t.dims) for t in _tensors(graph) if t.data_type in _FLOATS or (t.data_type in _CODES and t.dims)
    }
    sizes = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim[1:3]]
    height, width = sizes if len(sizes) == 2 else (0, 0)
    (features,) = (value for value in graph.output if value.name == FEATURE_OUTPUT)
    return ExportReport(
        nodes=dict(Counter(node.op_type for node in graph.node)),
        opset=next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
        bytes=model.ByteSize(),
        height=height,
        width=width,
        dim=features.type.tensor_type.shape.dim[-1].dim_value,
        parameters=sum(math.prod(dims) for name, dims in weights.items() if not name.startswith(PROLOGUE)),
        multiply_adds=_all_multiply_adds(model),
    )


def differences(ours: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return the worst photo's ||a-b||/||b|| and cosine of two feature tables [photo, number]."""
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    norm = np.maximum(np.linalg.norm(b, axis=1), 1e-30)
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1), 1e-30) / norm
    return {"relative": float((np.linalg.norm(a - b, axis=1) / norm).max()), "cosine": float(cosine.min())}


_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_CODES = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}  # what quantised weights are


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    constants = [n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]
    return [*graph.initializer, *constants]


def _all_multiply_adds(model: onnx.ModelProto) -> int | None:
    """Return the multiply-adds of a model; None where a product's size is neither inferred nor told by a run."""
    nodes = [node for node in all_nodes(model.graph.node) if _is_product(node)]
    outer = {id(node) for node in model.graph.node}
    if any(id(node) not in outer for node in nodes):
        return None  # in a branch or a loop: how often it runs is not known
    shapes = _shapes(model)
    counts = [_multiply_adds(node, shapes) for node in nodes]
    # Where the inference lost its way before the end, the sizes on its way are not trusted either.
    if FEATURE_OUTPUT not in shapes or None in counts:
        shapes = _run_shapes(model, nodes)
        counts = [_multiply_adds(node, shapes) for node in nodes]
    found = [count for count in counts if count is not None]
    return sum(found) if len(found) == len(nodes) else None


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return tensor -> shape at batch 1 as far as it can be inferred.

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
    shapes = tensor_shapes(inferred(light))
    known = {name: [n for n in dims if isinstance(n, int)] for name, (_, dims) in shapes.items()}
    found = {name: tuple(dims) for name, dims in known.items() if len(dims) == len(shapes[name][1])}
    return found | {tensor.name: tuple(tensor.dims) for tensor in source.initializer}


def _run_shapes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> dict[str, tuple[int, ...]]:
    """Return tensor -> shape of what the nodes read and make, as a run with one picture gives it; else empty."""
    made = {name for node in model.graph.node for name in node.output}
    names = sorted({name for node in nodes for name in (*node.input, *node.output) if name in made})
    kind = model.graph.input[0].type.tensor_type
    pixels = np.zeros([d.dim_value or 1 for d in kind.shape.dim], helper.tensor_dtype_to_np_dtype(kind.elem_type))
    try:
        found = run_tensors(model, names, pixels)
    except Exception:  # ONNX Runtime has a class for each kind of failure; the number is then not known
        return {}
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return weights | {name: value.shape for name, value in found.items()}


_WEIGHT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}  # the input that has the weights; 1 elsewhere


def _is_product(node: onnx.NodeProto) -> bool:
    """Tell whether a node multiplies and adds: a convolution, a matrix product, an attention, a recurrent net."""
    named = any(part in node.op_type for part in ("Conv", "MatMul", "Gemm", "Einsum", "Attention"))
    return named or node.op_type in {"LSTM", "GRU", "RNN"}


def _multiply_adds(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int | None:
    """Return the multiply-adds of one product at batch 1; None where its sizes, or how it works, are not known."""
    inputs = [*node.input, "", ""]
    a, b = (shapes.get(name) for name in (inputs[0], inputs[_WEIGHT.get(node.op_type, 1)]))
    out, op = shapes.get(node.output[0]), node.op_type
    if a is None or b is None or out is None:
        return None
    if op == "Einsum":
        return _einsum(node, (a, b))
    if "ConvTranspose" in op:
        return math.prod(a[2:]) * math.prod(b)
    if "Conv" in op and "Nhwc" not in op and "Deform" not in op:
        return math.prod(out[2:]) * math.prod(b)
    if ("MatMul" in op and "Bits" not in op and "BnB" not in op) or "Gemm" in op:
        swapped = attribute(node, "transA")
        return math.prod(out) * (a[-2 if swapped else -1] if a else 0)
    return None


def _einsum(node: onnx.NodeProto, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> int | None:
    """Return the product of the lengths of all letters; None for other than two tensors, or with an ellipsis."""
    text = str(onnx.helper.get_attribute_value(node.attribute[0]).decode()).replace(" ", "")
    terms = text.split("->")[0].split(",")
    if len(terms) != 2 or len(node.input) != 2 or "." in text or [*map(len, terms)] != [*map(len, shapes)]:
        return None
    lengths = dict(pair for term, shape in zip(terms, shapes, strict=True) for pair in zip(term, shape, strict=True))
    return math.prod(lengths.values())
