from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.fingerprint import fingerprint
from tests.conftest import TINY_RECIPE, tiny_model


def of(model: onnx.ModelProto) -> str:
    return fingerprint(model, TINY_RECIPE)


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


def branched() -> onnx.ModelProto:
    """Two branches behind the convolution, neither of which needs the other."""
    model = tiny_model()
    graph = model.graph
    at = next(i for i, node in enumerate(graph.node) if node.op_type == "Relu")
    before, after = list(graph.node[:at]), list(graph.node[at + 1 :])
    branches = [
        helper.make_node("Relu", ["map"], ["left"], name="left"),
        helper.make_node("Sigmoid", ["map"], ["right"], name="right"),
        helper.make_node("Sub", ["left", "right"], ["relu"], name="sub"),
    ]
    del graph.node[:]
    graph.node.extend([*before, *branches, *after])
    onnx.checker.check_model(model)
    return model


def initializer(model: onnx.ModelProto, name: str) -> TensorProto:
    found: TensorProto = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return found


def node(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in model.graph.node if node.op_type == op)
    return found


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}

    def new(name: str) -> str:
        return name if name in kept or not name else f"renamed/{name[::-1]}"

    for tensor in model.graph.initializer:
        tensor.name = new(tensor.name)
    for i, one in enumerate(model.graph.node):
        one.name = f"n{i}"
        one.input[:] = [new(name) for name in one.input]
        one.output[:] = [new(name) for name in one.output]
    model.graph.name = "another"
    return model


def swapped_branches(model: onnx.ModelProto) -> onnx.ModelProto:
    nodes = list(model.graph.node)
    at = next(i for i, one in enumerate(nodes) if one.name == "left")
    nodes[at], nodes[at + 1] = nodes[at + 1], nodes[at]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def other_producer(model: onnx.ModelProto) -> onnx.ModelProto:
    model.producer_name, model.producer_version, model.doc_string = "someone", "9.9", "words"
    model.graph.doc_string = node(model, "Conv").doc_string = "more words"
    model.ir_version = 9
    model.model_version = 3
    helper.set_model_props(model, {"fxengine": "{}", "more": "facts"})
    return model


def weight_in_a_constant_node(model: onnx.ModelProto) -> onnx.ModelProto:
    weight = initializer(model, "w")
    constant = helper.make_node("Constant", [], ["w"], value=weight)
    nodes = [constant, *model.graph.node]
    model.graph.initializer.remove(weight)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def weight_as_float_data(model: onnx.ModelProto) -> onnx.ModelProto:
    weight = initializer(model, "w")
    values = numpy_helper.to_array(weight)
    assert weight.raw_data
    weight.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, values.shape, values.ravel().tolist(), raw=False))
    assert not weight.raw_data
    assert len(weight.float_data) == values.size
    return model


def reordered_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    tensors = list(model.graph.initializer)[::-1]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    return model


def reordered_attributes(model: onnx.ModelProto) -> onnx.ModelProto:
    conv = node(model, "Conv")
    conv.attribute.append(helper.make_attribute("group", 1))
    attributes = list(conv.attribute)[::-1]
    del conv.attribute[:]
    conv.attribute.extend(attributes)
    return model


def other_name_of_the_free_dimension(model: onnx.ModelProto) -> onnx.ModelProto:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def with_group(model: onnx.ModelProto) -> onnx.ModelProto:
    node(model, "Conv").attribute.append(helper.make_attribute("group", 1))
    return model


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (branched, renamed),
        (branched, swapped_branches),
        (branched, other_producer),
        (branched, weight_in_a_constant_node),
        (branched, weight_as_float_data),
        (branched, reordered_initializers),
        (branched, other_name_of_the_free_dimension),
        (lambda: with_group(branched()), lambda model: reordered_attributes(branched())),
    ],
    ids=["names", "order", "producer", "constant", "float_data", "initializers", "batch_name", "attributes"],
)
def test_what_changes_no_number_changes_no_fingerprint(
    make: Callable[[], onnx.ModelProto], change: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> None:
    before, changed = make(), change(make())
    assert before.SerializeToString() != changed.SerializeToString()
    onnx.checker.check_model(changed)
    assert of(changed) == of(before)


def test_it_is_a_sha256_and_stays_the_same_when_saved_and_loaded() -> None:
    model = tiny_model()
    loaded = onnx.load_model_from_string(model.SerializeToString())
    assert len(bytes.fromhex(of(model))) == 32
    assert of(loaded) == of(model) == of(tiny_model())


def one_weight(model: onnx.ModelProto) -> None:
    values = numpy_helper.to_array(initializer(model, "w")).copy()
    values[0, 0, 0, 0] = np.nextafter(values[0, 0, 0, 0], np.float32(9))
    initializer(model, "w").CopyFrom(numpy_helper.from_array(values, "w"))


def shape_of_a_weight(model: onnx.ModelProto) -> None:
    values = numpy_helper.to_array(initializer(model, "w"))
    initializer(model, "w").CopyFrom(numpy_helper.from_array(values.reshape(8, 9, 3, 1), "w"))


def type_of_a_weight(model: onnx.ModelProto) -> None:
    values = numpy_helper.to_array(initializer(model, "w"))
    initializer(model, "w").CopyFrom(numpy_helper.from_array(values.view(np.int32), "w"))


def mean(model: onnx.ModelProto) -> None:
    tensor = initializer(model, "fx_pre/mean")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(1), tensor.name))


def attribute(model: onnx.ModelProto) -> None:
    pads = next(a for a in node(model, "Conv").attribute if a.name == "pads")
    pads.ints[:] = [1, 1, 1, 0]


def operator(model: onnx.ModelProto) -> None:
    node(model, "Sigmoid").op_type = "Tanh"


def order_of_inputs(model: onnx.ModelProto) -> None:
    node_names = {one.name: one for one in model.graph.node}
    node_names["sub"].input[:] = ["right", "left"]


def opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def input_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 33


def cut(model: onnx.ModelProto) -> None:
    """What `features` is, with the logits staying what they were."""
    flatten, gemm = node(model, "Flatten"), node(model, "Gemm")
    flatten.output[0] = gemm.input[0] = "flat"
    model.graph.node.append(helper.make_node("Neg", ["flat"], ["features"]))


@pytest.mark.parametrize(
    "change",
    [
        one_weight,
        shape_of_a_weight,
        type_of_a_weight,
        mean,
        attribute,
        operator,
        order_of_inputs,
        opset,
        input_size,
        cut,
    ],
)
def test_what_changes_numbers_changes_the_fingerprint(change: Callable[[onnx.ModelProto], None]) -> None:
    model = branched()
    changed = copy(model)
    change(changed)
    assert of(changed) != of(model)


@pytest.mark.parametrize(
    "field",
    [
        {"height": 33},
        {"width": 33},
        {"edge": "long"},
        {"size": 37},
        {"kernel": "bicubic"},
        {"antialias": False},
        {"rounding": "torchvision"},
        {"pad_color": (1, 0, 0)},
    ],
    ids=lambda field: next(iter(field)),
)
def test_each_field_of_the_recipe_changes_the_fingerprint(field: dict[str, Any]) -> None:
    assert fingerprint(tiny_model(), replace(TINY_RECIPE, **field)) != of(tiny_model())


def with_if(bias: float) -> onnx.ModelProto:
    """The tiny model with an If whose branches read a tensor of the graph around them."""

    def branch(name: str, value: float) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node("Add", ["flat", f"{name}_bias"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.array([value], np.float32), f"{name}_bias")],
        )

    model = tiny_model()
    flatten = node(model, "Flatten")
    flatten.output[0] = "flat"
    at = list(model.graph.node).index(flatten) + 1
    choice = helper.make_node(
        "If", ["yes"], ["features"], then_branch=branch("then", bias), else_branch=branch("other", 0)
    )
    nodes = [*model.graph.node[:at], choice, *model.graph.node[at:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(True), "yes"))
    onnx.checker.check_model(model)
    return model


def test_a_weight_inside_a_branch_counts() -> None:
    assert of(with_if(1)) == of(with_if(1))
    assert of(with_if(1)) != of(with_if(2))
    assert len({of(tiny_model()), of(with_if(0)), of(with_if(1))}) == 3


def with_function(slope: float) -> onnx.ModelProto:
    """The tiny model with its Relu as a function of the model's own."""
    body = [helper.make_node("LeakyRelu", ["a"], ["b"], alpha=slope)]
    model = tiny_model()
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Bend", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    relu = node(model, "Relu")
    relu.op_type, relu.domain = "Bend", "own"
    onnx.checker.check_model(model)
    return model


def test_the_body_of_a_function_counts() -> None:
    assert of(with_function(0.1)) != of(with_function(0.2))
