"""SavedModels without TensorFlow: what is read of their file, and a stand-in for the child that runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.children import layout
from fxengine.backbones.graph.run import run_model

FEATURES, CLASSES = 6, 4
VERSIONS = {"keras": "3", "tensorflow": "2", "tf2onnx": "1"}


def signature(*dims: int, name: str = "serving_default") -> bytes:
    """Return a saved_model.pb whose signature takes one tensor of this shape; -1 is an open dimension."""
    shape = b"".join(_field(2, b"\x08" + _varint(dim % (1 << 64))) for dim in dims)
    inputs = _field(1, _field(1, b"inputs") + _field(2, _field(1, b"inputs:0") + b"\x10\x01" + _field(3, shape)))
    entry = _field(1, name.encode()) + _field(2, inputs)
    # its graph, which is a large field of the same message, comes first
    return b"\x08\x01" + _field(2, _field(2, b"graph" * 1000) + _field(5, entry))


def stand_in(jobs: list[dict[str, Any]], folder: Path) -> None:
    """Answer as the child would for SavedModels of a small classifier, `classifier()`; in place of `keras_env.run`."""
    for job in jobs:
        place, affine = Path(job["folder"]), job["affine"]
        place.mkdir()
        net = classifier()
        photos = np.random.default_rng(3).integers(0, 256, (4, job["height"], job["width"], 3), np.uint8)
        ready = ((photos - np.asarray(affine["mean"])) / np.asarray(affine["std"])).astype(np.float32)
        onnx.save(net, place / layout.NET)
        arrays = {"photos": photos, "preprocessed": ready, **run_model(net, ready)}
        np.savez(place / layout.REFERENCE, allow_pickle=False, **arrays)
        answer = {"ok": True, "cut": "output", "recipe": "stand-in", "versions": VERSIONS, "removed": [], "batch": None}
        (place / layout.ANSWER).write_text(json.dumps({**answer, "tried": ["stand-in"]}))


def classifier() -> onnx.ModelProto:
    """Return a net of pictures [batch, height, width, 3] whose `features` are the shares of its classes."""
    rng = np.random.default_rng(4)
    weights = {"w": rng.normal(0, 1, (FEATURES, 3, 3, 3)), "top": rng.normal(0, 1, (FEATURES, CLASSES))}
    nodes = [
        helper.make_node("Transpose", ["pictures"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w"], ["map"]),
        helper.make_node("Relu", ["map"], ["relu"]),
        helper.make_node("ReduceMean", ["relu"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["pooled", "top"], ["answer"]),
        helper.make_node("Softmax", ["answer"], ["features"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)
