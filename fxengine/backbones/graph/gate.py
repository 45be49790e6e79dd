"""What a head's or a PCA's graph must be before a runtime sees it: what this house writes, and nothing else.

Only operators that work row by row on a matrix of features are known, each in the one form in which it is written, and
the shape of every tensor follows from its weights: no graph that passes can read a file, run on, or take memory
that its weights do not account for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

from fxengine.backbones.graph.model import IR_VERSION, OPSET
from fxengine.facts import FactsError

_OLDEST_OPSET, _OLDEST_IR = 13, 4  # each operator means the same from the one on; from the other, weights are no inputs
# The fields that messages may have. What is not here (functions, weights in other files, sparse ones) is not written.
_FIELDS = {
    "ModelProto": "ir_version producer_name producer_version domain model_version doc_string graph opset_import "
    "metadata_props",
    "GraphProto": "name doc_string node initializer input output",
    "NodeProto": "name doc_string op_type domain input output attribute",
    "AttributeProto": "name type i ints",
    "TensorProto": "name dims data_type raw_data",
}
# The attributes that each operator may have; how its inputs must be is in `_results`.
_ATTRIBUTES: dict[str, tuple[dict[str, object], ...]] = {
    **{op: ({},) for op in ("Div", "Exp", "Identity", "Log", "MatMul", "Max", "Mul", "Relu", "Sigmoid", "Sqrt", "Sub")},
    "Gather": ({"axis": 0},),
    "Gemm": ({"transB": 1},),
    "ReduceL2": ({"axes": [1], "keepdims": 1},),  # in heads of the first version
    "ReduceSum": ({"keepdims": 1}, {"keepdims": 0}),
    "Softmax": ({"axis": 1},),
    "TopK": ({"axis": 1},),
}
_VALUES = {AttributeProto.INT: "i", AttributeProto.INTS: "ints"}  # where an attribute of a type has its value
_TYPES: dict[int, np.dtype[Any]] = {TensorProto.FLOAT: np.dtype("<f4"), TensorProto.INT64: np.dtype("<i8")}
# A tensor without its rows: (columns,), (neighbours, columns), or ("rows of", how many, neighbours) for TopK's indices.
_Shape = tuple[int, ...] | tuple[str, int, int]
Buffer = bytes | memoryview


@dataclass(frozen=True)
class Passed:
    """What is known of a graph that passed.

    Attributes:
        dim: numbers of a row that goes in.
        output: name of the one output.
        outputs: numbers of a row that comes out.
        widest: numbers that a row has where it has most.
    """

    dim: int
    output: str
    outputs: int
    widest: int


def check_graph(model: onnx.ModelProto, contents: Sequence[Buffer], input_name: str) -> Passed:
    """Return what is known of a graph from float32 [batch, dim] to float32 [batch, outputs].

    Args:
        model: the graph; what is in its weights itself is not looked at.
        contents: bytes of its weights, in their order.
        input_name: of its one input.

    Raises:
        FactsError: it is none that a head or a PCA has; the message says what it has.
    """
    try:
        return _passed(model, contents, input_name)
    except UnicodeDecodeError as error:
        raise FactsError("is damaged: a name in it is no text") from error


def _passed(model: onnx.ModelProto, contents: Sequence[Buffer], input_name: str) -> Passed:
    graph = model.graph
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    _check_fields([model, graph, *graph.node, *attributes, *graph.initializer])
    _check_versions(model)
    weights = {
        tensor.name: _array(tensor, content) for tensor, content in zip(graph.initializer, contents, strict=True)
    }
    if len(graph.input) != 1 or len(graph.output) != 1 or len(weights) != len(graph.initializer):
        raise _no("another number of inputs, outputs or weights")
    made = [name for node in graph.node for name in node.output]
    if "" in made or len({input_name, *weights, *made}) < 1 + len(weights) + len(made):
        raise _no("two tensors of one name")
    dim, outputs = _columns(graph.input[0], input_name), _columns(graph.output[0], graph.output[0].name)
    shapes: dict[str, _Shape] = {input_name: (dim,)}
    for node in graph.node:
        found = _results(node, [weights[name] if name in weights else shapes.get(name) for name in node.input])
        if len(node.output) != len(found):
            raise _no(f"{node.op_type} with {len(node.output)} outputs")
        shapes.update(zip(node.output, found, strict=True))
    if shapes.get(graph.output[0].name) != (outputs,):
        raise _no("an output of another shape than it says")
    widest = max(math.prod(n for n in shape if isinstance(n, int)) for shape in shapes.values())
    return Passed(dim, graph.output[0].name, outputs, widest)


def _no(what: str) -> FactsError:
    return FactsError(f"is damaged, or no file that fxengine wrote: it has {what}")


def _check_fields(messages: Iterable[Any]) -> None:
    for message in messages:
        kind = message.DESCRIPTOR.name
        others = {field.name for field, _ in message.ListFields()} - set(_FIELDS[kind].split())
        if others:
            raise _no(f"{min(others)!r} in a {kind}")


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    """Return a node's attributes; raises FactsError where two readers of the file could see others."""
    names = [attribute.name for attribute in node.attribute]
    if len(set(names)) < len(names):
        raise _no("two attributes of one name")
    for attribute in node.attribute:
        values = {field.name for field, _ in attribute.ListFields()} - {"name", "type"}
        if values != {_VALUES.get(attribute.type)}:
            raise _no(f"an attribute {attribute.name[:40]!r} whose value is not of its type")
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _check_versions(model: onnx.ModelProto) -> None:
    opsets = [(entry.domain, entry.version) for entry in model.opset_import]
    if len(opsets) != 1 or opsets[0][0] not in ("", "ai.onnx") or not _OLDEST_OPSET <= opsets[0][1] <= OPSET:
        raise _no(f"the opset {opsets}"[:100])
    if not _OLDEST_IR <= model.ir_version <= IR_VERSION:
        raise _no(f"the IR version {model.ir_version}")
    keys = [entry.key for entry in model.metadata_props]
    if len(set(keys)) < len(keys):
        raise _no("metadata of one name twice")


def _array(tensor: TensorProto, content: Buffer) -> np.ndarray:
    """Return a constant of at most two dimensions; raises FactsError where it is not whole or not finite."""
    kind, dims = _TYPES.get(tensor.data_type), tuple(tensor.dims)
    if kind is None or len(dims) > 2 or min(dims, default=1) < 1 or math.prod(dims) * kind.itemsize != len(content):
        raise _no(f"weights {tensor.name!r} that do not fit their shape")
    if kind.kind == "i":
        return np.frombuffer(content, kind).reshape(dims)
    # By their bits, in less time: infinity and NaN are the largest with a sign or, where they are negative, without.
    if np.frombuffer(content, "<i4").max() >= 0x7F800000 or np.frombuffer(content, "<u4").max() >= 0xFF800000:
        raise _no(f"weights {tensor.name!r} that are not finite")
    return np.broadcast_to(np.zeros((), kind), dims)  # only type and shape are asked for


def _columns(value: onnx.ValueInfoProto, name: str) -> int:
    """Return the columns of an input or output; raises FactsError where it is not float32 [batch, columns]."""
    dims = value.type.tensor_type.shape.dim
    columns = dims[1].dim_value if len(dims) == 2 else 0
    if columns < 1 or value != helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]):
        raise _no(f"an input or output {value.name!r} that is not {name!r}, float32 [batch, columns]")
    return columns


_Operand = np.ndarray | _Shape | None  # a constant as it is, the shape of what depends on the row, or what is not there


def _results(node: onnx.NodeProto, inputs: list[_Operand]) -> list[_Shape]:
    """Return the shapes of a node's outputs; raises FactsError where it is not of a known form."""
    op = node.op_type
    found = _attributes(node)
    if node.domain not in ("", "ai.onnx") or found not in _ATTRIBUTES.get(op, ()):
        raise _no(f"the operator {op[:40]!r}, or one of its attributes")
    shapes = _of_rows(op, inputs) or _of_neighbours(op, inputs, keeps=bool(found.get("keepdims")))
    if not shapes:
        raise _no(f"{op} of other tensors than it may have")
    return shapes


def _of_rows(op: str, inputs: list[_Operand]) -> list[_Shape]:
    """Return what operators give that take a row of numbers to another one; nothing for others."""
    match [op, *inputs]:
        case ["Exp" | "Identity" | "Log" | "Relu" | "Sigmoid" | "Softmax" | "Sqrt", (int(n),)]:
            return [(n,)]
        case ["Div" | "Max" | "Mul" | "Sub", (int(n),), (int(m),)] if m in (1, n):
            return [(n,)]
        case ["Div" | "Max" | "Mul" | "Sub", (int(n),), by] if _is_number(by) or _is_row(by, n):
            return [(n,)]
        case ["Gemm", (int(n),), np.ndarray(dtype=np.float32, shape=(m, columns)), *bias] if columns == n:
            return [(m,)] if len(bias) < 2 and all(_is_row(each, m) for each in bias) else []
        case ["MatMul", (int(n),), np.ndarray(dtype=np.float32, shape=(rows, m))] if rows == n:
            return [(m,)]
    return []


def _of_neighbours(op: str, inputs: list[_Operand], *, keeps: bool) -> list[_Shape]:
    """Return what sums over a row give, and what takes the rows of its nearest neighbours; nothing for others."""
    match [op, *inputs]:
        case ["ReduceL2", (int(),)]:
            return [(1,)]
        case ["ReduceSum", (int(),), axes] if keeps and _is_axis_1(axes):
            return [(1,)]
        case ["ReduceSum", (int(), int(n)), axes] if not keeps and _is_axis_1(axes):
            return [(n,)]
        case ["TopK", (int(n),), np.ndarray(dtype=np.int64, shape=(1,)) as k] if 1 <= k[0] <= n:
            return [(int(k[0]),), ("rows of", n, int(k[0]))]
        case ["Gather", np.ndarray(dtype=np.float32, shape=(rows, m)), ("rows of", n, int(k))] if rows == n:
            return [(k, m)]
    return []


def _is_number(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32 and value.size == 1


def _is_row(value: object, columns: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32 and value.shape == (columns,)


def _is_axis_1(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.int64 and value.tolist() == [1]
