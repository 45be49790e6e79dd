"""Reading and repairing an ONNX graph: who makes which tensor, what depends on the picture, what is dead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter

from fxengine.backbones.graph.model import OPSET
from fxengine.errors import InputError

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_KEEP_SHAPE = {
    "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
    "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax",
}  # fmt: skip
BATCH = "batch"


class View:
    """Who makes each tensor of a graph, and which tensors depend on the graph's input."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.maker = {name: node for node in graph.node for name in node.output if name}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self.varying = {value.name for value in graph.input}
        for node in graph.node:
            if self.varying.intersection(_reads(node)):
                self.varying.update(name for name in node.output if name)

    def main_input(self, node: onnx.NodeProto) -> str | None:
        """Return the first input that depends on the picture."""
        return next((name for name in node.input if name in self.varying), None)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a tensor."""
        return [node for node in self.graph.node if name in node.input]


def attribute(node: onnx.NodeProto, name: str) -> object:
    """Return an attribute's value, or None."""
    found: object = next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)
    return found


def clean(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return the model with one graph, of known operators, whose only inputs are real ones, in order.

    Args:
        model: as it was read.
        name: how messages call it.

    Raises:
        InputError: it has operators that ONNX Runtime does not bring with it, or is damaged.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    if graph.sparse_initializer:
        raise InputError(f"{name} has sparse weights, which fxengine does not read: export it with dense ones.")
    custom = sorted({f"{node.domain}.{node.op_type}" for node in all_nodes(graph.node) if node.domain not in _DOMAINS})
    if custom:
        raise InputError(f"{name} has custom operators ({', '.join(custom[:5])}): export it with ONNX's own ones.")
    used = {node.domain or "ai.onnx" for node in all_nodes(graph.node)} | {"ai.onnx"}
    opsets = [entry for entry in model.opset_import if (entry.domain or "ai.onnx") in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets or [helper.make_opsetid("", 1)])
    weights = {tensor.name for tensor in graph.initializer}  # old models list them among the inputs as well
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    # one that says 3 needs the weights listed among the inputs
    model.ir_version = max(8, helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True))
    return keep_only(inferred(model), [value.name for value in graph.output])


def keep_only(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return a copy with these tensors as outputs, without what they do not need, its nodes in order."""
    nodes = _ordered(View(model.graph), outputs)
    used = {name for node in nodes for name in _reads(node)} | set(outputs)
    declared = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    graph = onnx.GraphProto(
        name=model.graph.name or "net",
        node=nodes,
        input=model.graph.input,
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in used],
        output=[declared.get(name, onnx.ValueInfoProto(name=name)) for name in outputs],
    )
    for node in graph.node:  # a Dropout's mask, which nothing reads and newer opsets type differently
        if node.op_type == "Dropout" and len(node.output) > 1 and node.output[1] not in used:
            del node.output[1:]
    return onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        opset_import=model.opset_import,
        metadata_props=model.metadata_props,
        graph=graph,
    )


def followed_by(model: onnx.ModelProto, tensor: str, after: onnx.GraphProto, prefix: str) -> onnx.ModelProto:
    """Return a copy in which `tensor` feeds the one input of `after`, whose outputs become the model's outputs.

    Args:
        model: the net.
        tensor: one of its tensors.
        after: operators whose meaning is the same in every opset from 13 on.
        prefix: put before the names of the tensors inside `after`.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    outputs = [value.name for value in after.output]
    # A tensor of the net that has the name of such an output gives it away.
    given = {name: f"{prefix}before/{name}" for name in outputs}
    for node in result.graph.node:
        for names in (node.input, node.output):
            names[:] = [given.get(name, name) for name in names]
    kept = {after.input[0].name: given.get(tensor, tensor), **{name: name for name in outputs}}
    for node in after.node:
        added = result.graph.node.add()
        added.CopyFrom(node)
        added.name = f"{prefix}{node.name or node.output[0]}"
        for names in (added.input, added.output):
            names[:] = [kept.get(name, prefix + name) for name in names]
    for weights in after.initializer:
        copy = result.graph.initializer.add()
        copy.CopyFrom(weights)
        copy.name = prefix + weights.name
    del result.graph.output[:]
    del result.graph.value_info[:]
    result.graph.output.extend(after.output)
    return keep_only(result, outputs)


def prefixed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """Return a copy whose tensors and nodes have a prefix before their names.

    `onnx.compose.add_prefix` leaves out what a branch reads from outside.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _put_prefix(result.graph, prefix)
    return result


def _put_prefix(graph: onnx.GraphProto, prefix: str) -> None:
    for node in graph.node:
        node.name = node.name and prefix + node.name
        for names in (node.input, node.output):
            names[:] = [name and prefix + name for name in names]
        for inner in _graphs(node):
            _put_prefix(inner, prefix)
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        named.name = prefix + named.name


def with_input(model: onnx.ModelProto, dims: Sequence[int | str]) -> onnx.ModelProto:
    """Return a copy whose one input has this shape, all other shapes inferred anew."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.value_info[:]
    value = graph.input[0]
    value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims))
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
        if output.type.tensor_type.elem_type == TensorProto.UNDEFINED:
            output.ClearField("type")
    return inferred(result)


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the types and shapes that onnx can infer; itself where it cannot follow the graph.

    Of com.microsoft's operators, which onnx does not know, those that change no shape are followed too.
    """
    asked = model
    if any(_keeps_shape(node) for node in model.graph.node):
        asked = onnx.ModelProto()
        asked.CopyFrom(model)
        for node in asked.graph.node:
            if _keeps_shape(node):
                same = helper.make_node("Identity", node.input[:1], node.output[:1], name=node.name)
                node.CopyFrom(same)
    try:
        found = onnx.shape_inference.infer_shapes(asked, data_prop=True)
    except Exception:  # whatever its C++ throws: such a graph may still run
        return model
    if asked is not model:
        found.graph.ClearField("node")
        found.graph.node.extend(model.graph.node)
    return found


def _keeps_shape(node: onnx.NodeProto) -> bool:
    return node.domain == "com.microsoft" and node.op_type in _KEEP_SHAPE


def _ordered(view: View, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that the outputs need, each after those that it reads."""
    result: list[onnx.NodeProto] = []
    done: set[int] = set()
    stack = [(view.maker[name], False) for name in reversed(outputs) if name in view.maker]
    open_nodes: set[int] = set()
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if ready:
            done.add(id(node))
            result.append(node)
            continue
        if id(node) in open_nodes:
            raise InputError(f"The graph goes in a circle at {node.name or node.output[0]!r}: it is damaged.")
        open_nodes.add(id(node))
        stack.append((node, True))
        needed = (view.maker[name] for name in reversed(_reads(node)) if name in view.maker)
        stack += [(other, False) for other in needed if id(other) not in done]
    return result


def _reads(node: onnx.NodeProto) -> list[str]:
    """Return what a node reads; of its subgraphs every name, since they may read outer tensors."""
    inner = (name for graph in _graphs(node) for other in graph.node for name in _reads(other))
    outer = (value.name for graph in _graphs(node) for value in graph.output)
    return [name for name in (*node.input, *inner, *outer) if name]


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            yield entry.g
        yield from entry.graphs


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those of its nodes, each after the ones around it."""
    yield graph
    for node in graph.node:
        for inner in _graphs(node):
            yield from all_graphs(inner)


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in _graphs(node):
            yield from all_nodes(graph.node)


def opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return the model at opset 17 where it is older and onnx can convert it, else None."""
    if opset(model) >= OPSET:
        return None
    try:
        result = version_converter.convert_version(model, OPSET)
    except Exception:  # whatever its C++ throws: the caller keeps the old opset
        return None
    result.ir_version = model.ir_version
    return result


def with_free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose constants no longer fix the number of pictures, as far as exporters are known to do it.

    They write 1, or 1 times a transformer's heads, into the shape of a Reshape, and one copy of the cls token into
    a Concat.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    shapes = {name: shape for name, (_, shape) in tensor_shapes(model).items()}
    _free_reshapes(View(result.graph), shapes)
    _free_concats(View(result.graph), shapes)
    return result


def _free_reshapes(view: View, shapes: dict[str, list[int | str]]) -> None:
    for i, node in enumerate(view.graph.node):
        if node.op_type != "Reshape" or node.input[0] not in view.varying or node.input[1] not in view.constants:
            continue
        shape = numpy_helper.to_array(view.constants[node.input[1]]).tolist()
        freed = _freed(shape, shapes.get(node.output[0], []))
        name = f"{node.input[1]}/any_batch_{i}"
        view.graph.initializer.append(numpy_helper.from_array(np.asarray(freed, np.int64), name))
        node.input[1] = name


def _free_concats(view: View, shapes: dict[str, list[int | str]]) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in view.graph.node:
        varying = view.main_input(node)
        if node.op_type == "Concat" and varying is not None and attribute(node, "axis") != 0:
            for i, name in enumerate(node.input):
                constant = view.constants.get(name)
                shape = shapes.get(name, []) if constant is None else list(constant.dims)
                if name not in view.varying and len(shape) > 1 and shape[0] == 1:
                    copies = f"{name}/any_batch_{len(nodes)}"
                    nodes += _copies(view.graph, name, varying, len(shape), copies)
                    node.input[i] = copies
        nodes.append(node)
    copied = onnx.GraphProto(node=nodes)
    view.graph.ClearField("node")
    view.graph.node.extend(copied.node)


def _copies(graph: onnx.GraphProto, name: str, like: str, rank: int, output: str) -> list[onnx.NodeProto]:
    """Return nodes that repeat a tensor whose first dimension is 1 as often as `like` has rows."""
    for suffix, value in (("first", [0]), ("ones", [1] * (rank - 1))):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.int64), f"{output}/{suffix}"))
    return [
        helper.make_node("Shape", [like], [f"{output}/shape"]),
        helper.make_node("Gather", [f"{output}/shape", f"{output}/first"], [f"{output}/rows"], axis=0),
        helper.make_node("Concat", [f"{output}/rows", f"{output}/ones"], [f"{output}/wanted"], axis=0),
        helper.make_node("Expand", [name, f"{output}/wanted"], [output]),
    ]


def _freed(shape: list[int], real: list[int | str]) -> list[int]:
    """Return the shape with its first entry open; 0 copies the input's, -1 takes the rest."""
    if not shape or shape[0] < 1:
        return shape
    if -1 not in shape:
        return [-1, *shape[1:]]
    known = real[shape.index(-1)] if len(real) == len(shape) else None
    if isinstance(known, int):  # so that the first may take the rest: it can be batch times heads
        return [-1, *(known if n == -1 else n for n in shape[1:])]
    return [0, *shape[1:]] if shape[0] == 1 else shape


def tensor_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, list[int | str]]]:
    """Return tensor -> (element type, shape) as far as the model says; unknown dimensions are "?" or a name."""
    result = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        if kind.elem_type != TensorProto.UNDEFINED and kind.HasField("shape"):
            result[value.name] = (kind.elem_type, shape_of(value))
    return result


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """Return a declared shape: numbers, names, or "?"."""
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
