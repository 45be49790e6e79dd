"""What no head and no PCA has is refused before a runtime sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from fxengine.backbones.graph.gate import Passed, check_graph
from fxengine.backbones.graph.wire import read_small_model
from fxengine.errors import InputError
from fxengine.facts import FactsError
from fxengine.heads.file import Head
from fxengine.heads.graph import HeadGraph

Change = Callable[[onnx.ModelProto], object]


def head() -> onnx.ModelProto:
    """Return a head of four numbers and three classes."""
    graph = HeadGraph(4)
    x = graph.unit("features")
    x = graph.softmax(graph.dense(x, np.ones((3, 4)), np.zeros(3)))
    return graph.model(x, "probabilities", 3)


def nearest() -> onnx.ModelProto:
    """Return a head of the two nearest of five rows."""
    graph = HeadGraph(4)
    near = graph.node("MatMul", "features", graph.constant(np.ones((4, 5))))
    best = graph.node("TopK", near, graph.constant([2], np.int64), outputs=2, axis=1)
    answers = graph.node("Gather", graph.constant(np.ones((5, 3))), best, axis=0)
    return graph.model(graph.node("ReduceSum", answers, graph.constant([1], np.int64), keepdims=0), "probabilities", 3)


def checked(model: onnx.ModelProto) -> Passed:
    return check_graph(model, [tensor.raw_data for tensor in model.graph.initializer], "features")


def weights(model: onnx.ModelProto, op: str, place: int) -> TensorProto:
    """Return a constant that the first node of an operator takes."""
    name = next(node for node in model.graph.node if node.op_type == op).input[place]
    found: TensorProto = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return found


def put(tensor: TensorProto, values: object, dtype: type = np.float32) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, dtype), tensor.name))


def add_node(model: onnx.ModelProto, op: str, *inputs: str, domain: str = "", **attributes: Any) -> None:
    """Put an operator before the last node, which passes its answers on."""
    made = helper.make_node(op, list(inputs), ["added"], domain=domain, **attributes)
    last = model.graph.node[-1]
    model.graph.node.insert(len(model.graph.node) - 1, made)
    last.input[0] = "added"


def elsewhere(tensor: TensorProto, *, said: bool) -> None:
    tensor.external_data.add(key="location", value="weights.bin")
    if said:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")


def answers(model: onnx.ModelProto) -> str:
    name: str = model.graph.node[-1].input[0]
    return name


def axis(model: onnx.ModelProto) -> Any:
    """Return the attributes of the node that has an axis."""
    return next(node for node in model.graph.node if node.op_type == "Softmax").attribute


def retyped(attribute: onnx.AttributeProto) -> None:
    attribute.ClearField("i")
    attribute.ints.append(1)


LOOP = helper.make_graph([], "body", [], [])
CASES: dict[str, tuple[Change, str]] = {
    "a loop": (lambda m: add_node(m, "Loop", "", "", answers(m), body=LOOP), "'g' in a AttributeProto"),
    "an operator of others": (lambda m: add_node(m, "Relu", answers(m), domain="evil"), "the operator 'Relu'"),
    "an unknown operator": (lambda m: add_node(m, "Expand", answers(m), answers(m)), "the operator 'Expand'"),
    "another axis": (lambda m: add_node(m, "Softmax", answers(m), axis=0), "the operator 'Softmax'"),
    "no axis": (lambda m: add_node(m, "Softmax", answers(m)), "the operator 'Softmax'"),
    "an attribute twice": (lambda m: axis(m).add(name="axis", type=AttributeProto.INT, i=1), "attributes of one name"),
    "an attribute of two values": (lambda m: axis(m)[0].ints.append(0), "'axis' whose value is not of its type"),
    "an attribute of another type": (lambda m: retyped(axis(m)[0]), "'axis' whose value is not of its type"),
    "a function": (lambda m: m.functions.add(name="f", domain=""), "'functions' in a ModelProto"),
    "training": (lambda m: m.training_info.add(), "'training_info' in a ModelProto"),
    "sparse weights": (lambda m: m.graph.sparse_initializer.add(), "'sparse_initializer' in a GraphProto"),
    "shapes that it states": (lambda m: m.graph.value_info.add(name="x"), "'value_info' in a GraphProto"),
    "weights elsewhere": (lambda m: elsewhere(weights(m, "Gemm", 1), said=True), "in a TensorProto"),
    "weights perhaps elsewhere": (lambda m: elsewhere(weights(m, "Gemm", 1), said=False), "in a TensorProto"),
    "an infinite weight": (lambda m: put(weights(m, "Gemm", 2), [0, np.inf, 0]), "that are not finite"),
    "a weight that is no number": (lambda m: put(weights(m, "Gemm", 2), [0, 0, np.nan]), "that are not finite"),
    "half weights": (lambda m: put(weights(m, "Gemm", 2), np.zeros(3), np.float16), "do not fit their shape"),
    "whole weights": (lambda m: put(weights(m, "Gemm", 2), np.zeros(3), np.int64), "Gemm of other tensors"),
    "too few weights": (lambda m: weights(m, "Gemm", 1).dims.__setitem__(0, 4), "do not fit their shape"),
    "weights without end": (lambda m: weights(m, "Gemm", 1).dims.extend([1 << 62]), "do not fit their shape"),
    "negative weights": (lambda m: weights(m, "Gemm", 1).dims.__setitem__(0, -3), "do not fit their shape"),
    "another bias": (lambda m: put(weights(m, "Gemm", 2), np.zeros(2)), "Gemm of other tensors"),
    "a wide maximum": (lambda m: put(weights(m, "Max", 1), np.ones((1000, 1))), "Max of other tensors"),
    "a sum over all rows": (lambda m: put(weights(m, "ReduceSum", 1), [0], np.int64), "ReduceSum of other tensors"),
    "what is not there": (lambda m: m.graph.node[1].input.__setitem__(0, "gone"), "ReduceSum of other tensors"),
    "a name twice": (lambda m: m.graph.node[-2].output.__setitem__(0, m.graph.node[-3].output[0]), "of one name"),
    "weights called like the input": (lambda m: m.graph.initializer.add(
        name="features", data_type=1, dims=[1], raw_data=bytes(4)), "two tensors of one name"),
    "weights of one name": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "another number of inputs"),
    "more outputs": (lambda m: m.graph.node[0].output.append("more"), "Mul with 2 outputs"),
    "two inputs": (lambda m: m.graph.input.append(m.graph.output[0]), "another number of inputs"),
    "another input": (lambda m: setattr(m.graph.input[0], "name", "images"), "'images' that is not 'features'"),
    "whole inputs": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7), "float32 .batch, columns."),
    "another length": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 5), "Gemm of other tensors"),
    "more answers": (
        lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 4), "of another shape"),
    "an old opset": (lambda m: setattr(m.opset_import[0], "version", 12), "the opset"),
    "a new opset": (lambda m: setattr(m.opset_import[0], "version", 99), "the opset"),
    "two opsets": (lambda m: m.opset_import.add(domain="ai.onnx.ml", version=1), "the opset"),
    "another IR": (lambda m: setattr(m, "ir_version", 3), "the IR version 3"),
    "metadata twice": (lambda m: [m.metadata_props.add(key="a", value=v) for v in "bc"], "metadata of one name twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_no_head_has_is_refused(name: str, tmp_path: Path) -> None:
    change, says = CASES[name]
    model = head()
    assert checked(model).outputs == 3
    change(model)
    with pytest.raises(FactsError, match=says):
        checked(model)


@pytest.mark.parametrize("k", [0, 6, 1 << 40])
def test_no_more_neighbours_than_there_are(k: int) -> None:
    model = nearest()
    assert checked(model).widest == 10
    put(weights(model, "TopK", 1), [k], np.int64)
    with pytest.raises(FactsError, match="TopK of other tensors than it may have"):
        checked(model)


def test_rows_are_taken_only_by_their_own_numbers() -> None:
    model = nearest()
    put(weights(model, "Gather", 0), np.ones((4, 3)))
    with pytest.raises(FactsError, match="Gather of other tensors"):
        checked(model)


def test_weights_in_a_file_beside_it_are_never_read(tmp_path: Path) -> None:
    """Nor by a second hard link, which no check of names can see."""
    model = head()
    tensor = weights(model, "Gemm", 1)
    (tmp_path / "secret").write_bytes(tensor.raw_data)
    os.link(tmp_path / "secret", tmp_path / "weights.bin")
    elsewhere(tensor, said=True)
    model.metadata_props.add(key="fxengine_head", value=(
        '{"format": 1, "space": "s", "source": "t", "kind": "ridge", "classes": ["a", "b", "c"], "rows": 4, '
        '"accuracy": {"mean": 1}}'))  # fmt: skip
    (tmp_path / "h.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"h\.onnx is damaged, or no file that fxengine wrote: it has 'data_location'"):
        Head.load(tmp_path / "h.onnx")


def field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


BYTES = {
    "many empty nodes": field(7, field(1, b"") * 2_000_000),
    "many empty weights": field(7, field(5, b"") * 2000),
    "a long node": field(7, field(1, bytes(5000))),
    "long metadata": field(14, bytes(9 << 20)),
    "a group": b"\x0b\x0c",
    "no end": b"\xff" * 12,
    "a length beyond the end": b"\x3a\x7f",
    "nothing but text": b"no",
}


@pytest.mark.parametrize("name", BYTES)
def test_what_would_fill_memory_is_not_parsed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "h.onnx"
    path.write_bytes(BYTES[name])
    monkeypatch.setattr("fxengine.backbones.graph.wire.onnx", None)  # parsing it would be another error
    with pytest.raises(FactsError, match=r"is damaged, or no file that fxengine wrote|is not a readable ONNX file"):
        read_small_model(path)


def test_what_is_no_regular_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FactsError, match="is no regular file"):
        read_small_model(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(FactsError, match="is over 2 GB"):
        read_small_model(tmp_path / "large")
    with pytest.raises(InputError, match=r"Cannot read .*gone: No such file"):
        read_small_model(tmp_path / "gone")


def test_what_another_parser_could_read_otherwise_is_refused(tmp_path: Path) -> None:
    content = head().SerializeToString()
    (tmp_path / "h.onnx").write_bytes(content)
    found, whole = read_small_model(tmp_path / "h.onnx"), head()
    assert found.content == content
    assert [bytes(each) for each in found.weights] == [tensor.raw_data for tensor in whole.graph.initializer]
    for tensor in whole.graph.initializer:
        tensor.ClearField("raw_data")
    assert found.model == whole
    for more in (field(15, b"?"), field(7, field(2, b"head"))):  # a field that is not known, and one that comes twice
        (tmp_path / "h.onnx").write_bytes(content + more)
        with pytest.raises(FactsError, match="is damaged, or no file that fxengine wrote"):
            read_small_model(tmp_path / "h.onnx")


def test_weights_are_looked_at_once_and_where_they_are(tmp_path: Path) -> None:
    """Those that come twice, or behind a length that is longer than it need be, are others to another parser."""
    whole = head().SerializeToString()
    bias = field(9, bytes(12))
    assert whole.count(bias) == 1
    for other in (bias + bias, b"\x4a\x8c\x00" + bytes(12)):
        path = tmp_path / "h.onnx"
        path.write_bytes(grown(whole, bias, other))
        assert onnx.load(path) == head()
        with pytest.raises(FactsError, match="is damaged, or no file that fxengine wrote"):
            read_small_model(path)


def grown(whole: bytes, old: bytes, new: bytes) -> bytes:
    """Put other bytes into a tensor, and into the lengths of what it is in."""
    model = onnx.ModelProto.FromString(whole)
    tensors = [field(5, t.SerializeToString().replace(old, new)) for t in model.graph.initializer]
    graph = onnx.GraphProto.FromString(model.graph.SerializeToString())
    del graph.initializer[:]
    model.ClearField("graph")
    rest, named = bytes(model.SerializeToString()), bytes(graph.SerializeToString())
    return rest + field(7, named + b"".join(tensors))
