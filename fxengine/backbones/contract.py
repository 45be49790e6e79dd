"""Whether a file is what is asked for: of fxengine's kinds the right one, with the net that its facts describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto

from fxengine.backbones.graph.external_data import external_tensors
from fxengine.backbones.spec import (
    BUNDLE_METADATA_KEY,
    FEATURE_OUTPUT,
    HEAD_METADATA_KEY,
    INPUT_NAME,
    LENGTHS_INPUT,
    LOGITS_OUTPUT,
    METADATA_KEY,
    PCA_METADATA_KEY,
    SPANS_OUTPUT,
    TOKENS_INPUT,
    Facts,
    TextRecipe,
    layer_output,
)
from fxengine.errors import InputError

# Key of what a file says of itself -> what it is, and what takes it; `{path}` is the file.
_KINDS = {
    METADATA_KEY: "a backbone: give it as `backbone`",
    HEAD_METADATA_KEY: "a head: give it to `fxengine predict` or `fxengine bundle`, as `model`",
    PCA_METADATA_KEY: "a transform that `fxengine pca` wrote: as a backbone it is called pca:{path}",
    BUNDLE_METADATA_KEY: "a bundle, which ONNX Runtime runs without fxengine: give what it was made of, the backbone "
    "or the head",
}


def another_kind(said: Mapping[str, str], path: Path, wanted: str) -> str:
    """Return the sentence for an ONNX file that is not what is wanted: what else of fxengine's it is, and its use.

    Args:
        said: the metadata of the file.
        path: the file.
        wanted: what was asked for, in words.
    """
    kind = next((kind for key, kind in _KINDS.items() if key in said), None)
    if kind is None:
        return f"{path} is an ONNX file, but no {wanted}."
    return f"{path} is no {wanted}, but {kind.format(path=path)}."


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
    said: dict[str, tuple[int, ...]] = {FEATURE_OUTPUT: (facts.dim,)}
    said |= {layer_output(layer): (dim,) for layer, dim in facts.layers}
    if facts.classes:
        said[LOGITS_OUTPUT] = (len(facts.classes),)
    if facts.span_labels:
        said[SPANS_OUTPUT] = (0, len(facts.span_labels))
    for output, shape in said.items():
        if outputs.get(output) != shape:
            raise _other(name, f"gives {output} of {shape[-1]} numbers", "outputs", outputs)


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
