"""Whether the net in a backbone's file is the one that its facts describe."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from fxengine.backbones.graph.external_data import external_tensors
from fxengine.backbones.spec import (
    FEATURE_OUTPUT,
    INPUT_NAME,
    LENGTHS_INPUT,
    LOGITS_OUTPUT,
    TOKENS_INPUT,
    Facts,
    TextRecipe,
    layer_output,
)
from fxengine.errors import InputError


def check_contract(model: onnx.ModelProto, facts: Facts, name: str) -> None:
    """Raise InputError where the inputs, the outputs or the weights of `name` are not as its facts say."""
    if external_tensors(model):
        raise InputError(f"{name} keeps weights in other files, which no backbone that fxengine exported does.")
    weights = {tensor.name for tensor in model.graph.initializer}
    recipe = facts.recipe
    kind = TensorProto.INT32 if isinstance(recipe, TextRecipe) else TensorProto.UINT8
    inputs = {value.name: _shape(value, kind) for value in model.graph.input if value.name not in weights}
    if isinstance(recipe, TextRecipe):
        if inputs != {TOKENS_INPUT: (0,), LENGTHS_INPUT: ()}:
            raise _other(name, "takes token ids", "inputs", inputs)
    elif inputs != {INPUT_NAME: (recipe.height, recipe.width, 3)}:
        raise _other(name, f"takes pictures of {recipe.height} x {recipe.width} pixels", "inputs", inputs)
    outputs = {value.name: _shape(value, TensorProto.FLOAT) for value in model.graph.output}
    said = {FEATURE_OUTPUT: facts.dim, **{layer_output(layer): dim for layer, dim in facts.layers}}
    if facts.classes:
        said[LOGITS_OUTPUT] = len(facts.classes)
    for output, dim in said.items():
        if outputs.get(output) != (dim,):
            raise _other(name, f"gives {output} of {dim} numbers", "outputs", outputs)


def _shape(value: onnx.ValueInfoProto, kind: int) -> tuple[int, ...] | None:
    """Return the shape without its rows, 0 where a dimension is open; None where it has none, or another type."""
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    return tuple(dim.dim_value for dim in dims[1:]) if tensor.elem_type == kind and len(dims) else None


def _other(name: str, says: str, ports: str, there: dict[str, tuple[int, ...] | None]) -> InputError:
    found = ", ".join(f"{port} {list(shape or ())}" for port, shape in there.items()) or "none"
    return InputError(
        f"{name} is damaged: it says that it {says}, but the {ports} of its net are {found[:200]}. Export it again: "
        "`fxengine export`."
    )
