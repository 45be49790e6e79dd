"""Head files: other operators, attributes, shapes, types and weights, and bytes of the file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fxengine.heads.file import Head, HeadFacts, save_head
from fxengine.heads.graph import HeadGraph
from tests.hostile.fuzz.mutations import OF_BYTES, Mutation, mutate, mutations

MEGABYTES = 500
_DIM = 8
_OPERATORS = (
    "Gemm", "MatMul", "Add", "Mul", "Div", "Sqrt", "Softmax", "Sigmoid", "Max", "ReduceSum", "Log", "Exp", "Neg",
    "Identity", "Cast", "Expand", "Tile", "ConstantOfShape", "Reshape", "Gather", "Concat", "TopK", "Range", "Loop",
    "If", "Scan", "Resize", "Pad", "NonZero", "RandomNormal", "Einsum", "Constant", "Unknown",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 1 << 20, 1 << 31, 1 << 40, 1 << 62)
_VALUES = (0.0, 1.0, -1.0, float("nan"), float("inf"), 3e38, 1e-40)
_KINDS = ("operator", "domain", "input", "output", "axis", "attribute", "dims", "weights", "type", "shape", "constant",
          "remove", "repeat", "opset", "outputs", "external")  # fmt: skip


def _sound() -> bytes:
    graph = HeadGraph(_DIM)
    rng = np.random.default_rng(0)
    model = graph.model(
        graph.softmax(graph.dense(graph.unit("features"), rng.normal(size=(3, _DIM)), np.zeros(3))), "probabilities", 3
    )
    facts = HeadFacts("s" * 64, "made", "ridge", ("a", "b", "c"), {"mean": 1.0, "low": 0.5, "high": 1.0}, 9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.onnx"
        save_head(path, model, facts)
        return path.read_bytes()


def _changed(seed: bytes, changes: list[Mutation], in_bytes: list[Mutation]) -> bytes:
    model = onnx.load_from_string(seed)
    for change in changes:
        _change(model, change)
    data: bytes = model.SerializeToString()
    for change in in_bytes:
        data = mutate(data, change)
    return data


def _change(model: onnx.ModelProto, change: Mutation) -> None:  # noqa: C901
    graph, number = model.graph, _NUMBERS[change.value % len(_NUMBERS)]
    node = graph.node[change.at % len(graph.node)] if graph.node else graph.node.add()
    tensor = graph.initializer[change.place % len(graph.initializer)] if graph.initializer else graph.initializer.add()
    names = [
        "",
        "features",
        *(each for other in graph.node for each in other.output),
        *(t.name for t in graph.initializer),
    ]
    name = names[change.value % len(names)]
    match change.kind:
        case "operator":
            node.op_type = _OPERATORS[change.value % len(_OPERATORS)]
        case "domain":
            node.domain = ("", "com.microsoft", "ai.onnx.ml", "evil")[change.value % 4]
        case "input" if node.input:
            node.input[change.place % len(node.input)] = name
        case "output" if node.output:
            node.output[change.place % len(node.output)] = name
        case "axis":
            node.attribute.append(helper.make_attribute("axis", number))
        case "attribute" if node.attribute:
            node.attribute[change.place % len(node.attribute)].i = number
        case "dims" if tensor.dims:
            tensor.dims[change.at % len(tensor.dims)] = number
        case "weights":
            value = _VALUES[change.value % len(_VALUES)]
            shape = tuple(min(abs(d), 64) for d in tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(np.full(shape, value, np.float32), tensor.name))
        case "type":
            tensor.data_type = change.value % 24
        case "shape":
            shape = (graph.input or graph.output)[0].type.tensor_type.shape
            shape.dim.add().dim_value = number
        case "constant":
            tensor.CopyFrom(numpy_helper.from_array(np.array([number, number], np.int64), tensor.name))
        case "remove" if graph.node:
            graph.node.remove(node)
        case "repeat":
            graph.node.add().CopyFrom(node)
        case "opset" if model.opset_import:
            model.opset_import[0].version = (0, 1, 7, 11, 17, 25, 9999, -1)[change.value % 8]
        case "outputs":
            graph.output.add().CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        case "external":
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=("/etc/passwd", "../x", "x", "/dev/zero")[change.value % 4])


inputs = st.builds(
    _changed,
    st.just(_sound()),
    st.just([]) | mutations(_KINDS, most=5),
    st.just([]) | st.just([]) | mutations(OF_BYTES, most=3),
)


def prepare(folder: Path) -> Any:
    """Return where heads are written to."""
    return folder / "head.onnx"


def read(data: bytes, made: Path) -> object:
    """Load a head and ask it."""
    made.write_bytes(data)
    head = Head.load(made)
    return head.answers(np.ones((4, head.dim), np.float32))
