"""Opens a batch that a graph's constants fix, wherever the pictures are in its tensors.

Exporters write the number of pictures into the shapes of Reshape nodes, alone or times a transformer's heads or
tokens, first or second, and into copies of the cls token. The nodes are gone through in order; the shapes before each
are inferred for a number of pictures that is no other length of the net, so that it shows where the pictures are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.run import run_tensors
from fxengine.backbones.graph.surgery import View, attribute, inferred, opset, tensor_shapes

_MANY = 10_007  # a prime that no net has as a length
_LIGHT = 4096
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Found:
    """A model on its way to an open batch.

    Attributes:
        model: its nodes up to the one that is looked at, mended, fed with many pictures.
        varying: the tensors that depend on the picture.
        real: constants, and what the nodes to mend make of `batch` pictures.
        batch: how many pictures the constants say.
    """

    model: onnx.ModelProto
    varying: set[str]
    real: dict[str, np.ndarray]
    batch: int


def with_open_batch(model: onnx.ModelProto, pixels: np.ndarray) -> onnx.ModelProto:
    """Return a copy whose constants no longer say how many pictures there are, as far as that can be told.

    Args:
        model: a net of one input.
        pixels: what it takes, as many pictures as its constants say.

    Raises:
        Exception: whatever ONNX Runtime raises where it cannot run the model.
    """
    view = View(model.graph)
    mended = [node for node in model.graph.node if node.op_type in _MENDS and node.output[0] in view.varying]
    names = {name for node in mended for name in (*node.input, *node.output) if name}
    made = {name for node in mended for name in node.output} | (names & view.maker.keys() - view.varying)
    real = run_tensors(model, sorted(made), pixels)
    real |= {name: numpy_helper.to_array(view.constants[name]) for name in names & view.constants.keys()}
    light, heavy = _without_weights(model)
    found = _Found(light, view.varying, real, len(pixels))
    nodes = list(light.graph.node)
    light.graph.ClearField("node")
    for node in nodes:
        if node.op_type in _MENDS and node.output[0] in view.varying:
            _mend(found, node)
        light.graph.node.append(node)
    inputs = [value for value in light.graph.input if value.name not in heavy]
    del light.graph.input[:]
    light.graph.input.extend(inputs)
    light.graph.initializer.extend(heavy.values())
    return light


def _without_weights(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, TensorProto]]:
    """Return a copy for many pictures whose large weights are inputs instead, and these weights."""
    source = model.graph
    heavy = {t.name: t for t in source.initializer if math.prod(t.dims) > _LIGHT}
    graph = onnx.GraphProto(name=source.name, node=source.node, output=source.output)
    graph.initializer.extend(t for t in source.initializer if t.name not in heavy)
    (pictures,) = source.input
    kind = pictures.type.tensor_type
    dims = [_MANY, *(d.dim_value for d in kind.shape.dim[1:])]
    graph.input.append(helper.make_tensor_value_info(pictures.name, kind.elem_type, dims))
    graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in heavy.values())
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    light.producer_name = model.producer_name
    return light, heavy


def _mend(found: _Found, node: onnx.NodeProto) -> None:
    """Change one node, and put what it needs before it, so that it takes any number of pictures."""
    main = next(name for name in node.input if name in found.varying)
    many = _shape_of_many(found.model, main)
    at = next((i for i, n in enumerate(many) if n % _MANY == 0), None)
    if at is not None and (many[at] == _MANY or node.op_type in ("Reshape", "Squeeze")):
        _MENDS[node.op_type](found, node, main, many, at)


def _mend_reshape(found: _Found, node: onnx.NodeProto, main: str, many: Shape, at: int) -> None:
    shape = _opened(many, found.real[node.output[0]].shape, found.batch) if node.input[0] == main else None
    if shape is not None:
        node.input[1] = _constant(found.model.graph, f"{node.output[0]}/open", shape)


def _mend_squeeze(found: _Found, node: onnx.NodeProto, main: str, many: Shape, at: int) -> None:
    if len(node.input) > 1 or attribute(node, "axes") is not None:
        return
    ones = [i for i, n in enumerate(many) if n == 1]
    if opset(found.model) >= 13:
        node.input.append(_constant(found.model.graph, f"{node.output[0]}/open", ones))
    else:
        node.attribute.append(helper.make_attribute("axes", ones))


def _mend_concat(found: _Found, node: onnx.NodeProto, main: str, many: Shape, at: int) -> None:
    if attribute(node, "axis") in (at, at - len(many)):
        return
    for i, name in enumerate(node.input):
        if name in found.varying:
            continue
        value = found.real[name]
        if value.ndim == len(many) and value.shape[at] == found.batch:
            node.input[i] = _copies(found.model.graph, name, main, at, len(many), f"{node.output[0]}/open_{i}")


def _mend_expand(found: _Found, node: onnx.NodeProto, main: str, many: Shape, at: int) -> None:
    if node.input[1] in found.varying:
        return
    shape = [*map(int, found.real[node.input[1]])]
    place = at - len(many) + len(shape)
    if place >= 0 and shape[place] == found.batch:
        shape[place] = 1  # which takes the other's length
        node.input[1] = _constant(found.model.graph, f"{node.output[0]}/open", shape)


def _mend_resize(found: _Found, node: onnx.NodeProto, main: str, many: Shape, at: int) -> None:
    if at != 0 or len(node.input) < 4 or node.input[3] in {"", *found.varying}:
        return
    graph, out = found.model.graph, node.output[0]
    rest = _constant(graph, f"{out}/rest", [*map(int, found.real[node.input[3]][1:])])
    node.input[3] = f"{out}/sizes"
    rows = _rows(graph, main, 0, f"{out}/open")
    graph.node.append(helper.make_node("Concat", [rows, rest], [f"{out}/sizes"], axis=0))


_MENDS = {
    "Reshape": _mend_reshape,
    "Squeeze": _mend_squeeze,
    "Concat": _mend_concat,
    "Expand": _mend_expand,
    "Resize": _mend_resize,
}


def _shape_of_many(model: onnx.ModelProto, name: str) -> Shape:
    """Return the shape that a tensor has with many pictures; () where it cannot be inferred."""
    source = model.graph
    graph = onnx.GraphProto(name="shapes", node=source.node, input=source.input, initializer=source.initializer)
    graph.output.append(onnx.ValueInfoProto(name=name))
    asked = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    _, dims = tensor_shapes(inferred(asked)).get(name, (0, []))
    known = tuple(n for n in dims if isinstance(n, int))
    return known if len(known) == len(dims) else ()


def _opened(many: Shape, wanted: Sequence[int], batch: int) -> list[int] | None:
    """Return the shape of a Reshape with -1 where the pictures go; None where they fit nowhere.

    Args:
        many: the shape before, for many pictures.
        wanted: the shape after, for `batch` pictures.
        batch: how many pictures the constants say.
    """
    at = next(i for i, n in enumerate(many) if n % _MANY == 0)
    ahead = math.prod(many[:at])
    spots = []
    # Heads times pictures in one dimension: the pictures may be outside of the heads or inside.
    for turn, before in enumerate((ahead, ahead * (many[at] // _MANY))):
        for i, n in enumerate(wanted):
            outside = math.prod(wanted[:i])
            if n % batch == 0 and before in (outside, outside * n // batch):
                # Best a dimension of their own; the last one has the features, which weights are waiting for.
                spots.append((n != batch, i == len(wanted) - 1, outside != before, turn, i))
    place = min(spots)[-1] if spots else None
    return None if place is None else [-1 if i == place else int(n) for i, n in enumerate(wanted)]


def _constant(graph: onnx.GraphProto, name: str, values: Sequence[int]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
    return name


def _rows(graph: onnx.GraphProto, like: str, at: int, name: str) -> str:
    """Add nodes that tell how long a dimension of a tensor is; return what they make."""
    place = _constant(graph, f"{name}/at", [at])
    graph.node.append(helper.make_node("Shape", [like], [f"{name}/shape"]))
    graph.node.append(helper.make_node("Gather", [f"{name}/shape", place], [f"{name}/rows"], axis=0))
    return f"{name}/rows"


def _copies(graph: onnx.GraphProto, name: str, like: str, at: int, rank: int, output: str) -> str:
    """Add nodes that repeat the first of a constant's rows as often as `like` has rows there; return what they make."""
    first = _constant(graph, f"{output}/first", [0])
    ahead, behind = (_constant(graph, f"{output}/{i}", [1] * n) for i, n in enumerate((at, rank - at - 1)))
    graph.node.append(helper.make_node("Gather", [name, first], [f"{output}/one"], axis=at))
    rows = _rows(graph, like, at, output)
    graph.node.append(helper.make_node("Concat", [ahead, rows, behind], [f"{output}/wanted"], axis=0))
    graph.node.append(helper.make_node("Expand", [f"{output}/one", f"{output}/wanted"], [output]))
    return output
