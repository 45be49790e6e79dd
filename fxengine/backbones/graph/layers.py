"""Gives a finished backbone further outputs: any tensor inside it, pooled to a vector."""

from __future__ import annotations

import difflib
from dataclasses import replace

import onnx
from onnx import TensorProto, helper, shape_inference

from fxengine.backbones.graph.cut import Cut, channels_last, check_cut, vector_nodes
from fxengine.backbones.graph.model import metadata_of, tokenizer_of
from fxengine.backbones.graph.surgery import View
from fxengine.backbones.graph.texts import Nodes, mean_over_tokens
from fxengine.backbones.spec import (
    EPILOGUE,
    FEATURE_OUTPUT,
    LOGITS_OUTPUT,
    METADATA_KEY,
    PROLOGUE,
    SPANS_OUTPUT,
    Facts,
    TextRecipe,
    layer_output,
)
from fxengine.errors import InputError

_NOT_INSIDE = (PROLOGUE, EPILOGUE)  # of the net


def with_layers(model: onnx.ModelProto, layers: tuple[str, ...], pooling: str = "avg") -> onnx.ModelProto:
    """Return a copy of a finished backbone whose outputs are these tensors; the last one becomes `features`.

    "features" is the backbone's own vector; any other name is that of a tensor or of the node that makes it.

    Raises:
        InputError: there is no such tensor (lists the nearest), or it cannot become one vector a picture.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    shapes, view = _shapes(model), View(model.graph)
    makers = {node.name: node.output[0] for node in model.graph.node if node.name}
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    dims: dict[str, int] = {}
    for layer in layers:
        tensor = layer if layer in shapes else makers.get(layer, layer)
        if tensor not in shapes:
            near = difflib.get_close_matches(layer, shapes, n=5, cutoff=0.3) or list(shapes)[-5:]
            raise InputError(f"{facts.name} has no layer {layer!r}. Near it: {', '.join(near)}.")
        shape = (1, *shapes[tensor][1:])
        cut = Cut(tensor, shape, len(shape) == 4 and channels_last(view, tensor, shape, input_last=True))
        check_cut(cut, facts.name)
        dims[layer] = cut.dim()
        if layer == FEATURE_OUTPUT:
            continue
        if isinstance(facts.recipe, TextRecipe):
            made_of = _of_tokens(cut, layer, pooling, facts.name)
            nodes, weights = made_of.nodes, made_of.initializers
        else:
            nodes, weights = vector_nodes(cut, layer_output(layer), pooling)
        made.graph.node.extend(nodes)
        made.graph.initializer.extend(weights)
    _name_outputs(made, layers, dims)
    *others, last = layers
    cut_at = facts.cut if last == FEATURE_OUTPUT else last
    facts = replace(facts, dim=dims[last], cut=cut_at, layers=tuple((name, dims[name]) for name in others))
    helper.set_model_props(made, {METADATA_KEY: facts.to_json(), **tokenizer_of(model)})
    onnx.checker.check_model(made)
    return made


def _of_tokens(cut: Cut, layer: str, pooling: str, name: str) -> Nodes:
    """Return the nodes that take the mean of a tensor of a text backbone over the tokens that are there."""
    if len(cut.shape) != 3 or pooling != "avg":
        raise InputError(f"{name}: of texts, a layer is a tensor of a vector a token, and its mean is taken.")
    return mean_over_tokens(cut.tensor, layer_output(layer), f"{EPILOGUE}{layer}/")


def _name_outputs(model: onnx.ModelProto, layers: tuple[str, ...], dims: dict[str, int]) -> None:
    """Make `layers` the outputs, under the names of the contract; `logits` and `spans` stay."""
    if layers[-1] != FEATURE_OUTPUT:
        # The backbone's own vector gives its name away, and gets one as a further layer if it is one of them.
        own = layer_output(FEATURE_OUTPUT)
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [
                    _renamed(name, {FEATURE_OUTPUT: own, layer_output(layers[-1]): FEATURE_OUTPUT}) for name in names
                ]
    kept = [output for output in model.graph.output if output.name in (LOGITS_OUTPUT, SPANS_OUTPUT)]
    names = [*(layer_output(layer) for layer in layers[:-1]), FEATURE_OUTPUT]
    del model.graph.output[:]
    for name, layer in zip(names, layers, strict=True):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dims[layer]]))
    model.graph.output.extend(kept)


def _renamed(name: str, names: dict[str, str]) -> str:
    return names.get(name, name)


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Return tensor -> shape of every float tensor that a node makes."""
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    found = {}
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        kind = value.type.tensor_type
        if kind.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16) and not value.name.startswith(_NOT_INSIDE):
            found[value.name] = [dim.dim_value for dim in kind.shape.dim]
    return found
