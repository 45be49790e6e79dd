"""Finds the classifier of a net, and makes one vector of whatever stands before it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.onnx_graph import View, attribute, inferred, tensor_shapes
from fxengine.errors import InputError

MAX_DIM = 65_536
_ACTIVATIONS = {"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"}
_POOLS = {"GlobalAveragePool", "GlobalMaxPool", "AveragePool", "ReduceMean"}
_SHAPING = {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"}
_TRANSPARENT = {"Identity", "Cast", "Dropout"}
_CHANNELS_FIRST = {
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization",
    "InstanceNormalization", "LRN", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "QLinearConv",
}  # fmt: skip
_FIRST = np.asarray([0], np.int64)
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


@dataclass(frozen=True)
class Head:
    """A net's own classifier.

    Attributes:
        features: the tensor that goes into it.
        logits: what comes out, before a softmax.
        removed: the nodes from `features` to the output, as "Op name".
    """

    features: str
    logits: str
    removed: tuple[str, ...]


def find_head(view: View) -> Head | None:
    """Return the classifier at the first output that has one."""
    return next((head for value in view.graph.output if (head := _head_of(view, value.name))), None)


def _head_of(view: View, output: str) -> Head | None:
    logits, current, pooled, removed = output, output, False, []
    while (node := view.maker.get(current)) is not None:
        removed.append(f"{node.op_type} {node.name or node.output[0]}")
        before = view.main_input(node)
        if before is None:
            return None
        if _is_classifier(view, node):
            return Head(_skip_dropout(view, before), logits, tuple(reversed(removed)))
        passes = _ACTIVATIONS | _POOLS | _SHAPING | _TRANSPARENT | ({"Relu"} if pooled else set())
        if node.op_type not in passes and not _is_bias(view, node):
            return None
        pooled = pooled or node.op_type in _POOLS
        current = before
        if node.op_type in _ACTIVATIONS:
            logits = before
    return None


def _is_classifier(view: View, node: onnx.NodeProto) -> bool:
    if node.op_type in ("Gemm", "MatMul"):
        return node.input[1] not in view.varying
    if node.op_type != "Conv":
        return False
    weight = view.constants.get(node.input[1])
    return weight is not None and list(weight.dims[2:]) == [1, 1] and attribute(node, "group") in (None, 1)


def _is_bias(view: View, node: onnx.NodeProto) -> bool:
    """Tell an Add of a constant to what a MatMul or a convolution gave."""
    if node.op_type != "Add" or sum(name in view.varying for name in node.input) != 1:
        return False
    before = view.maker.get(view.main_input(node) or "")
    return before is not None and before.op_type in {"MatMul", "Conv", *_TRANSPARENT, *_SHAPING}


def _skip_dropout(view: View, name: str) -> str:
    while (node := view.maker.get(name)) is not None and node.op_type in ("Dropout", "Identity"):
        name = str(node.input[0])
    return name


def find_tensor(view: View, wanted: str, file: str) -> str:
    """Return the tensor that is called so, or that the node of that name makes; raises InputError with the nearest."""
    if wanted in view.maker and wanted in view.varying:
        return wanted
    node = next((node for node in view.graph.node if node.name == wanted and node.output[0] in view.varying), None)
    if node is not None:
        return str(node.output[0])
    names = [name for name in view.maker if name in view.varying]
    near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.4) or names[-5:]
    raise InputError(
        f"{file} has no tensor {wanted!r}. Near it: {', '.join(near)}. `fxengine info onnx:{file} --layers` lists all."
    )


def no_classifier(model: onnx.ModelProto, file: str) -> InputError:
    """Return the error that says which tensors there are instead."""
    last = [f"{entry['tensor']} {entry['shape']}" for entry in list_candidates(model, None)[-8:]]
    return InputError(
        f"{file} does not end in a classifier that can be cut (Gemm, MatMul or 1x1 Conv). Choose a tensor, as in "
        f"onnx:{file}@NAME: {', '.join(last)}; `fxengine info onnx:{file} --layers` lists all."
    )


def list_candidates(model: onnx.ModelProto, head: Head | None) -> list[dict[str, Any]]:
    """Return every tensor that can become features, in the graph's order: tensor, op, shape (or None), default."""
    view, shapes = View(model.graph), tensor_shapes(inferred(model))
    result = []
    for node in model.graph.node:
        name = node.output[0]
        kind, shape = shapes.get(name, (TensorProto.FLOAT, []))
        if name in view.varying and kind in _FLOATS and (not shape or 2 <= len(shape) <= 4):
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


def check_cut(cut: Cut, file: str) -> None:
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
        f"The tensor {cut.tensor!r} of {file} is {shape}: it {problem}. Choose another one: "
        f"`fxengine info onnx:{file} --layers`."
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
