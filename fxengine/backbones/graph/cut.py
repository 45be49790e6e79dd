"""Finds the classifier of a net, and makes one vector of whatever stands before it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.quantized import as_numbers
from fxengine.backbones.graph.surgery import View, attribute, inferred, tensor_shapes
from fxengine.errors import InputError

MAX_DIM = 65_536
_ACTIVATIONS = {"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "QLinearSoftmax", "QLinearSigmoid"}
_POOLS = {
    "GlobalAveragePool", "GlobalMaxPool", "AveragePool", "ReduceMean", "QLinearGlobalAveragePool",
    "QLinearAveragePool", "QLinearReduceMean",
}  # fmt: skip
_SHAPING = {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"}
_TRANSPARENT = {"Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear"}
# Which of a product's inputs has its weights.
_PRODUCTS = {
    "Gemm": 1, "MatMul": 1, "FusedGemm": 1, "FusedMatMul": 1, "MatMulNBits": 1, "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "QLinearMatMul": 3, "QGemm": 3,
}  # fmt: skip
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_ON_INTEGERS = {"MatMulInteger", "ConvInteger"}
_NAMED_EMBEDDING = re.compile("embed|feature|pooled|pooler", re.IGNORECASE)
_LENGTH_STEPS = {"Clip", "Max", "Add", "Expand", "Unsqueeze", "Squeeze", "Reshape", "Sqrt", "Reciprocal", "Div", "Pow"}
_CHANNELS_FIRST = {
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization",
    "InstanceNormalization", "LRN", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "QLinearConv", "ConvInteger",
    "FusedConv",
}  # fmt: skip
_FIRST = np.asarray([0], np.int64)
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


@dataclass(frozen=True)
class Head:
    """What a net is cut at: its own classifier, or nothing where its output is the features.

    Attributes:
        features: the tensor that goes into the classifier.
        logits: what comes out, before a softmax; None where nothing is cut.
        removed: the nodes from `features` to the output, as "Op name".
        output: the net's output, which keeps them all.
    """

    features: str
    logits: str | None
    removed: tuple[str, ...]
    output: str


def find_head(view: View) -> Head | None:
    """Return what to cut at the first output that has a classifier or is an embedding, which is kept whole."""
    for value in view.graph.output:
        if value.name in view.varying and is_embedding(view, value.name):
            return Head(as_numbers(view, value.name), None, (), value.name)
        head = find_classifier(view, value.name)
        if head is not None:
            return head
    return None


def is_embedding(view: View, output: str) -> bool:
    """Tell whether an output is meant as features: its name says so, or its length is made 1."""
    if _NAMED_EMBEDDING.search(output):
        return True
    node = view.maker.get(_skip(view, output, _TRANSPARENT | _SHAPING))
    if node is None:
        return False
    if node.op_type in ("LpNormalization", "Normalizer"):
        return True
    varying = [_skip(view, name, {"Cast", "Identity"}) for name in node.input if name in view.varying]
    return node.op_type in ("Div", "Mul") and any(_whose_length(view, name) in varying for name in varying)


def _whose_length(view: View, name: str) -> str | None:
    """Return the tensor whose L2 norm, or what is made of it to divide by, this one is."""
    same = {"Cast", "Identity"}
    while (node := view.maker.get(name)) is not None and node.op_type in _LENGTH_STEPS | same:
        name = view.main_input(node) or ""
    if node is None:
        return None
    inner = _skip(view, node.input[0], same)
    if node.op_type in ("ReduceL2", "ReduceSumSquare"):
        return inner
    square = view.maker.get(inner)
    if node.op_type != "ReduceSum" or square is None:
        return None
    if square.op_type == "Mul" and square.input[0] != square.input[1]:
        return None
    return _skip(view, square.input[0], same) if square.op_type in ("Mul", "Pow") else None


def find_classifier(view: View, output: str) -> Head | None:
    """Return the classifier at an output: what stands before its last product with constant weights."""
    logits, current, pooled, removed = output, output, False, []
    while (node := view.maker.get(current)) is not None:
        removed.append(f"{node.op_type} {node.name or node.output[0]}")
        before = _main_input(view, node)
        if before is None:
            return None
        if _is_classifier(view, node):
            features = _before_classifier(view, before)
            return Head(features, as_numbers(view, logits), tuple(reversed(removed)), output)
        passes = _ACTIVATIONS | _POOLS | _SHAPING | _TRANSPARENT | ({"Relu"} if pooled else set())
        if node.op_type not in passes and not _is_bias(view, node):
            return None
        pooled = pooled or node.op_type in _POOLS
        current = before
        if node.op_type in _ACTIVATIONS:
            logits = before
    return None


def _main_input(view: View, node: onnx.NodeProto) -> str | None:
    """Return the input to follow: of a product of integers and its scale, both of which vary, the product."""
    product = next((name for name in node.input if _is_integer_product(view, name)), None)
    return product or view.main_input(node)


def _is_integer_product(view: View, name: str) -> bool:
    node = view.maker.get(_skip(view, name, {"Cast"}))
    return node is not None and node.op_type in _ON_INTEGERS


def _is_classifier(view: View, node: onnx.NodeProto) -> bool:
    if node.op_type in _PRODUCTS:
        return node.input[_PRODUCTS[node.op_type]] not in view.varying
    if node.op_type not in _CONVOLUTIONS:
        return False
    weight = view.constants.get(_skip(view, node.input[_CONVOLUTIONS[node.op_type]], {"DequantizeLinear", "Identity"}))
    return weight is not None and list(weight.dims[2:]) == [1, 1] and attribute(node, "group") in (None, 1)


def _is_bias(view: View, node: onnx.NodeProto) -> bool:
    """Tell an Add of a constant to what a product gave, or the scale of a product of integers."""
    if node.op_type == "Mul":
        return any(_is_integer_product(view, name) for name in node.input)
    if node.op_type not in ("Add", "QLinearAdd") or sum(name in view.varying for name in node.input) != 1:
        return False
    before = view.maker.get(view.main_input(node) or "")
    products = {*_PRODUCTS, *_CONVOLUTIONS} - {"Gemm"}
    scaled = before is not None and before.op_type == "Mul" and _is_bias(view, before)
    return scaled or (before is not None and before.op_type in {*products, *_TRANSPARENT, *_SHAPING})


def _before_classifier(view: View, name: str) -> str:
    """Return the numbers that go into a classifier, before dropout and before they became codes."""
    while (found := as_numbers(view, _skip(view, name, {"Dropout", "Identity"}))) != name:
        name = found
    return name


def _skip(view: View, name: str, operators: set[str]) -> str:
    """Return the first tensor, going back from this one, that none of these operators made."""
    while (node := view.maker.get(name)) is not None and node.op_type in operators:
        name = str(node.input[0])
    return name


def find_tensor(view: View, wanted: str, source: str) -> str:
    """Return the tensor that is called so, or that the node of that name makes; raises InputError with the nearest."""
    if wanted in view.maker and wanted in view.varying:
        return wanted
    node = next((node for node in view.graph.node if node.name == wanted and node.output[0] in view.varying), None)
    if node is not None:
        return str(node.output[0])
    names = [name for name in view.maker if name in view.varying]
    near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.4) or names[-5:]
    raise InputError(
        f"{source} has no tensor {wanted!r}. Near it: {', '.join(near)}. `fxengine info {source} --layers` lists all."
    )


def no_classifier(model: onnx.ModelProto, source: str) -> InputError:
    """Return the error that says which tensors there are instead."""
    last = [f"{entry['tensor']} {entry['shape']}" for entry in list_candidates(model, None)[-8:]]
    return InputError(
        f"{source} does not end in a classifier that can be cut (Gemm, MatMul or 1x1 Conv). Choose a tensor, as in "
        f"{source}@NAME: {', '.join(last)}; `fxengine info {source} --layers` lists all."
    )


def list_candidates(model: onnx.ModelProto, head: Head | None) -> list[dict[str, Any]]:
    """Return every tensor that can become features, in the graph's order: tensor, op, shape (or None), default."""
    view, shapes = View(model.graph), tensor_shapes(inferred(model))
    result = []
    for node in model.graph.node:
        name = node.output[0]
        kind, shape = shapes.get(name, (TensorProto.FLOAT, []))
        codes = as_numbers(view, name) != name  # listed as numbers
        if name in view.varying and kind in _FLOATS and not codes and (not shape or 2 <= len(shape) <= 4):
            default = head is not None and head.features == name
            result.append({"tensor": name, "op": node.op_type, "shape": shape or None, "default": default})
    return result


def channels_last(view: View, name: str, shape: Sequence[int], input_last: bool) -> bool:
    """Tell whether a map [batch, ?, ?, ?] has its channels last, by the nodes before it.

    Args:
        view: the net.
        name: the map.
        shape: its shape.
        input_last: whether the net's input has them last.
    """
    node = view.maker.get(name)
    while node is not None:
        if node.op_type in _CHANNELS_FIRST:
            return False
        perm = attribute(node, "perm")
        if perm in ([0, 2, 3, 1], [0, 3, 1, 2]):
            return perm == [0, 2, 3, 1]
        if node.op_type in ("Reshape", "Transpose"):
            return shape[1] == shape[2] != shape[3]
        node = view.maker.get(view.main_input(node) or "")
    return input_last


@dataclass(frozen=True)
class Cut:
    """A tensor of the net that becomes an output.

    Attributes:
        tensor: its name.
        shape: with one picture.
        last: whether a map has its channels last.
    """

    tensor: str
    shape: tuple[int, ...]
    last: bool = False

    def dim(self, pooled: bool = True) -> int:
        """Return how many numbers a row has."""
        shape = self.shape[1:]
        if pooled and self.pools:
            return shape[-1] if len(shape) == 2 or self.last else shape[0]
        return math.prod(shape)

    @property
    def pools(self) -> bool:
        """Whether it is a map or tokens, and not a vector already."""
        positions = self.shape[1:-1] if len(self.shape) == 3 or self.last else self.shape[2:]
        return any(n != 1 for n in positions)


def check_cut(cut: Cut, source: str) -> None:
    """Raise InputError where the tensor's shape cannot become one vector a picture."""
    shape = list(cut.shape)
    if not 2 <= len(shape) <= 4:
        problem = f"has {len(shape)} dimensions, where 2 (a vector), 3 (tokens) or 4 (a map) are understood"
    elif shape[0] != 1:
        problem = f"has {shape[0]} as dimension 0, which must be the pictures (here 1)"
    elif not 1 <= cut.dim() <= MAX_DIM:
        problem = f"gives {cut.dim()} numbers a picture, where 1 to {MAX_DIM} are allowed"
    else:
        return
    raise InputError(
        f"The tensor {cut.tensor!r} of {source} is {shape}: it {problem}. Choose another one: "
        f"`fxengine info {source} --layers`."
    )


def vector_nodes(
    cut: Cut, output: str, pooling: str, pooled: bool = True
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Return the nodes and weights that make `output`, float32 [batch, dim], of a cut.

    They mean the same in every opset. Averaging is done in float32: sums of a large map leave float16.
    """
    steps: list[tuple[str, list[str], dict[str, Any]]] = [("Cast", [], {"to": TensorProto.FLOAT})]
    weights = []
    if pooled and cut.pools and pooling == "cls":
        if len(cut.shape) != 3:
            raise InputError(
                f"The tensor {cut.tensor!r} is a map {list(cut.shape)} without a cls token: use avg or max."
            )
        weights.append(numpy_helper.from_array(_FIRST, f"{output}/first"))
        steps.append(("Gather", [f"{output}/first"], {"axis": 1}))
    elif pooled and cut.pools:
        if len(cut.shape) == 3 or cut.last:
            steps.append(("Transpose", [], {"perm": [0, 2, 1] if len(cut.shape) == 3 else [0, 3, 1, 2]}))
        steps.append(("GlobalMaxPool" if pooling == "max" else "GlobalAveragePool", [], {}))
    steps.append(("Flatten", [], {"axis": 1}))
    nodes, current = [], cut.tensor
    for i, (op, extra, attributes) in enumerate(steps):
        result = output if i == len(steps) - 1 else f"{output}/{op.lower()}"
        nodes.append(helper.make_node(op, [current, *extra], [result], name=f"{output}/{op}", **attributes))
        current = result
    return nodes, weights
