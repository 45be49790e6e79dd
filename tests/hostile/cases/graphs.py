"""Hostile graphs in ONNX files: the same changes of a sound head, transform and backbone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import DEEP, Case, Kit, linked, victim

HEAD, TRANSFORM, BACKBONE = "fxengine_head", "fxengine_pca", "fxengine"
Change = Callable[[onnx.ModelProto, Path], object]


def net(change: Change, says: str = "", refused: bool = True) -> dict[str, Case]:
    """Return one case for each kind of file: the sound one, loaded and changed; `change` may write it itself."""
    return {kind: one(kind, change, says, refused) for kind in (HEAD, TRANSFORM, BACKBONE)}


def one(kind: str, change: Change, says: str, refused: bool) -> Case:
    def build(kit: Kit, folder: Path) -> Path:
        path = folder / f"{kind}.onnx"
        model = onnx.load(_sound(kit, kind))
        changed = change(model, victim(folder))
        path.write_bytes(changed if isinstance(changed, bytes) else model.SerializeToString())
        return path

    return Case(build, rf"{kind}\.onnx.*{says}" if refused else "", refused)


def _sound(kit: Kit, kind: str) -> Path:
    return {HEAD: kit.head, TRANSFORM: kit.transform, BACKBONE: kit.backbone}[kind]


def _weights(model: onnx.ModelProto) -> onnx.TensorProto:
    """Return the largest of a net's constants."""
    tensors: list[onnx.TensorProto] = [each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT]
    return max(tensors, key=lambda tensor: int(np.prod(tensor.dims)))


def _filled(value: float) -> Change:
    def change(model: onnx.ModelProto, _: Path) -> None:
        tensor = _weights(model)
        values = np.full(tuple(tensor.dims), value, np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return change


def _external(location: Callable[[Path], str]) -> Change:
    """Return a net whose weights lie in another file."""

    def change(model: onnx.ModelProto, victim: Path) -> None:
        tensor = _weights(model)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location(victim)), ("offset", "0"), ("length", "16")):
            tensor.external_data.add(key=key, value=value)

    return change


def _through(link: Callable[[Path, Path], object]) -> Callable[[Path], str]:
    """Return the name of a file beside the net that is a private one by a link."""

    def location(victim: Path) -> str:
        link(victim.parents[1] / "weights.bin", victim)
        return "weights.bin"

    return location


def _before_the_end(*made: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = ()) -> Change:
    """Return a net with nodes between what it computes ("in") and its output ("out")."""

    def change(model: onnx.ModelProto, _: Path) -> None:
        name = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["in" if each == name else each for each in node.output]
        for node in made:
            copied = model.graph.node.add()
            copied.CopyFrom(node)
            copied.output[:] = [name if each == "out" else each for each in copied.output]
        model.graph.initializer.extend(constants)

    return change


def _subgraph(name: str, *nodes: onnx.NodeProto, inputs: int = 0, outputs: tuple[str, ...] = ()) -> onnx.GraphProto:
    kinds = [TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT][:inputs]
    shapes: list[list[int] | None] = [[], [], None]
    taken = [helper.make_tensor_value_info(f"{name}{i}", kinds[i], shapes[i]) for i in range(inputs)]
    made = [
        helper.make_tensor_value_info(each, TensorProto.BOOL if each == "again" else TensorProto.FLOAT, None)
        for each in outputs
    ]
    return helper.make_graph(list(nodes), name, taken, made)


def _constant(name: str, value: object, dtype: type = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def _loop(times: int) -> Change:
    body = _subgraph(
        "body",
        helper.make_node("Identity", ["body1"], ["again"]),
        helper.make_node("Identity", ["body2"], ["kept"]),
        inputs=3,
        outputs=("again", "kept"),
    )
    return _before_the_end(
        helper.make_node("Loop", ["times", "yes", "in"], ["out"], body=body),
        constants=(_constant("times", times), _constant("yes", True, np.bool_)),
    )


def _if() -> Change:
    branch = _subgraph("branch", helper.make_node("Identity", ["in"], ["chosen"]), outputs=("chosen",))
    return _before_the_end(
        helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch),
        constants=(_constant("yes", True, np.bool_),),
    )


def _nested(depth: int) -> Change:
    plain = _subgraph("plain", helper.make_node("Identity", ["in"], ["other"]), outputs=("other",))
    graph = plain
    for i in range(depth):
        node = helper.make_node("If", ["yes"], [f"chosen{i}"], then_branch=graph, else_branch=plain)
        graph = _subgraph(f"branch{i}", node, outputs=(f"chosen{i}",))
    return _before_the_end(
        helper.make_node("If", ["yes"], ["out"], then_branch=graph, else_branch=plain),
        constants=(_constant("yes", True, np.bool_),),
    )


def _scan() -> Change:
    body = helper.make_graph(
        [helper.make_node("Identity", ["row"], ["row_out"])],
        "body",
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("row_out", TensorProto.FLOAT, None)],
    )
    return _before_the_end(helper.make_node("Scan", ["in"], ["out"], body=body, num_scan_inputs=1))


def _function(model: onnx.ModelProto, victim: Path) -> None:
    """A function of the file's own with the name of an operator that is allowed."""
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_function("own", "Identity", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], opsets)
    model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("own", 1))
    _before_the_end(helper.make_node("Identity", ["in"], ["out"], domain="own"))(model, victim)


def _bomb() -> Change:
    return _before_the_end(
        helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["none"], keepdims=0),
        helper.make_node("Add", ["in", "none"], ["out"]),
        constants=(_constant("large", [1 << 20, 1 << 20]),),
    )


def _expanded(model: onnx.ModelProto, victim: Path) -> None:
    """A billion numbers of every row, added up again."""
    _before_the_end(
        helper.make_node("Unsqueeze", ["in", "at"], ["column"]),
        helper.make_node("Expand", ["column", "shape"], ["many"]),
        helper.make_node("ReduceMean", ["many"], ["out"], axes=[2], keepdims=0),
        constants=(_constant("at", [2]), _constant("shape", [1, 1, 1 << 30])),
    )(model, victim)


def _resized(model: onnx.ModelProto, _: Path) -> None:
    tensor = _weights(model)
    tensor.dims[0] = 1 << 40


def _negative(model: onnx.ModelProto, _: Path) -> None:
    _weights(model).dims[0] = -1


def _without_outputs(model: onnx.ModelProto, _: Path) -> None:
    del model.graph.output[:]


def _without_inputs(model: onnx.ModelProto, _: Path) -> None:
    del model.graph.input[:]


def _second_input(model: onnx.ModelProto, _: Path) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def _renamed_input(model: onnx.ModelProto, _: Path) -> None:
    name = model.graph.input[0].name
    model.graph.input[0].name = "other"
    for node in model.graph.node:
        node.input[:] = ["other" if each == name else each for each in node.input]


def _other_dim(model: onnx.ModelProto, _: Path) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9


def _free_dim(model: onnx.ModelProto, _: Path) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "any"


def _without_shape(model: onnx.ModelProto, _: Path) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def _of_text(model: onnx.ModelProto, _: Path) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def _opset(version: int) -> Change:
    def change(model: onnx.ModelProto, _: Path) -> None:
        model.opset_import[0].version = version

    return change


def _many_nodes(model: onnx.ModelProto, victim: Path) -> None:
    names = ["in", *(f"n{i}" for i in range(10_000)), "out"]
    nodes = [helper.make_node("Identity", [a], [b]) for a, b in pairwise(names)]
    _before_the_end(*nodes)(model, victim)


def _circle(model: onnx.ModelProto, victim: Path) -> None:
    _before_the_end(
        helper.make_node("Add", ["in", "c"], ["out"]),
        helper.make_node("Identity", ["out"], ["c"]),
    )(model, victim)


GRAPHS: dict[str, dict[str, Case]] = {
    "a Loop without end": net(_loop(2**62)),
    "a Loop": net(_loop(3)),
    "an If": net(_if()),
    "20 Ifs within each other": net(_nested(20)),
    "a Scan": net(_scan()),
    "a function of its own": net(_function),
    "another domain": net(_before_the_end(helper.make_node("Gelu", ["in"], ["out"], domain="com.microsoft"))),
    "a domain that nobody knows": net(_before_the_end(helper.make_node("Run", ["in"], ["out"], domain="evil"))),
    "an operator that nobody knows": net(_before_the_end(helper.make_node("Run", ["in"], ["out"]))),
    "weights elsewhere": net(_external(str)),
    "weights elsewhere by a path that climbs": net(_external(lambda victim: "../" * 20 + str(victim)[1:])),
    "weights elsewhere beside it": net(_external(lambda _: "private/secret.txt")),
    "weights behind a link": net(_external(_through(lambda path, victim: path.symlink_to(victim)))),
    "weights behind a hard link": net(_external(_through(linked))),
    "weights of /dev/zero": net(_external(lambda _: "/dev/zero")),
    "weights NaN": net(_filled(float("nan"))),
    "weights infinite": net(_filled(float("inf"))),
    "weights too large": net(_filled(3e38), refused=False),  # finite, and their sums are not
    "weights of 2^40 rows": net(_resized),
    "weights of -1 rows": net(_negative),
    "4 TB of zeros": net(_bomb()),
    "4 GB for every number": net(_expanded),
    "10,000 nodes": net(_many_nodes, refused=False),
    "a circle": net(_circle),
    "no outputs": net(_without_outputs),
    "no inputs": net(_without_inputs),
    "a second input": net(_second_input),
    "an input of another name": net(_renamed_input),
    "an input of another dim": net(_other_dim),
    "an input of any dim": net(_free_dim, refused=False),
    "an input without shape": net(_without_shape, refused=False),
    "an input of text": net(_of_text),
    "opset 9999": net(_opset(9999)),
    "opset -1": net(_opset(-1)),
    "a file cut short": net(lambda model, _: model.SerializeToString()[:-20]),
    "a file of noise": net(lambda *_: bytes(range(256)) * 10),
    "an empty file": net(lambda *_: b""),
    "protobuf 200 deep": net(lambda *_: _deep_protobuf(200)),
    "protobuf 100,000 deep": net(lambda *_: _deep_protobuf(DEEP)),
}


def _deep_protobuf(depth: int) -> bytes:
    """Return a graph whose node has an attribute that is a graph whose node has ..."""
    data = b""
    for _ in range(min(depth, 2000)):
        for field in (b"\x32", b"\x2a", b"\x0a"):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            data = field + varint(len(data)) + data
    return b"\x3a" + varint(len(data)) + data


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
