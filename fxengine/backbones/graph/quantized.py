"""Nets of 8-bit codes: which numbers a tensor of codes stands for, and which scales are taken over the whole batch."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper

from fxengine.backbones.graph.surgery import View, all_nodes
from fxengine.errors import InputError

# Where an operator that makes codes has their scale, which the zero point follows; -2 counts from the end.
_MADE_SCALE = {
    "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6, "QLinearMul": 6, "QLinearConcat": 0,
    "QLinearAveragePool": 3, "QLinearGlobalAveragePool": 3, "QLinearSigmoid": 3, "QLinearLeakyRelu": 3,
    "QLinearSoftmax": 3, "QLinearReduceMean": 3, "QLinearWhere": 7,
}  # fmt: skip
_KEEPS_CODES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Gather", "Slice", "MaxPool"}
_TAKEN_OVER_THE_BATCH = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
_NUMBERS = "/dequantized"


def with_numbers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which each tensor of codes that an operator on codes makes is there as numbers too.

    They are called TENSOR/dequantized; what is not used of them goes with the next cut.
    """
    view = View(model.graph)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    scales: dict[str, list[str]] = {}  # tensor of codes -> its scale and zero point
    for node in model.graph.node:
        nodes.append(node)
        codes = node.output[0]
        scale = scales.get(node.input[0], []) if node.op_type in _KEEPS_CODES else _scale_of(node)
        if scale:
            scales[codes] = scale
        if codes in view.varying and scale:
            inputs = [codes, *scale]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [codes + _NUMBERS], name=codes + _NUMBERS))
    result.graph.ClearField("node")
    result.graph.node.extend(nodes)
    return result


def _scale_of(node: onnx.NodeProto) -> list[str]:
    """Return scale and zero point of the codes that a node makes; nothing where it makes none (or a quantised copy)."""
    at = _MADE_SCALE.get(node.op_type)
    # A QGemm without them gives numbers.
    return [] if at is None else [name for name in node.input[at : at + 2] if name]


def as_numbers(view: View, name: str) -> str:
    """Return the tensor of numbers that a tensor stands for: what was quantised, its own numbers, or itself."""
    maker = view.maker.get(name)
    if maker is not None and maker.op_type in ("QuantizeLinear", "DynamicQuantizeLinear"):
        return str(maker.input[0])
    return name + _NUMBERS if name + _NUMBERS in view.maker else name


def check_scales(model: onnx.ModelProto, file: str) -> None:
    """Raise InputError where a scale is taken over the whole batch."""
    found = next(_dynamic(model.graph), None)
    if found is not None:
        raise InputError(
            f"{file} quantises as it runs ({found.op_type} {found.name or found.output[0]!r}): the scale is taken over "
            "the whole batch, so a picture's vector would depend on its neighbours. Export the float net, or quantise "
            "it with fixed scales (static)."
        )


def _dynamic(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    view = View(graph)
    for node in all_nodes(graph.node):
        inner = node.output[0] not in view.maker
        if node.op_type in _TAKEN_OVER_THE_BATCH and (inner or node.input[0] in view.varying):
            yield node
