"""How models are written here: their operator set, and what they say of themselves."""

from __future__ import annotations

import onnx
from onnx import helper

from fxengine.backbones.spec import TOKENIZER_KEY

OPSET, IR_VERSION = 17, 8


def make_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """Return a model of ONNX's own operators alone."""
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def tokenizer_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the entry of a model's metadata that holds its tokenizer; none of a net of pictures."""
    return {entry.key: entry.value for entry in model.metadata_props if entry.key == TOKENIZER_KEY}


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the model's metadata, key -> text."""
    return {entry.key: entry.value for entry in model.metadata_props}
