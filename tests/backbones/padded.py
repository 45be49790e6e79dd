"""A net with a zero Pad before a MaxPool, and its export as earlier versions made it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones import cache, load_backbone
from fxengine.backbones.graph.model import make_model
from fxengine.backbones.options import ExportOptions
from fxengine.cache import cache_folder


def classifier(path: Path, *, padded: bool) -> Path:
    """Write a net whose map is negative everywhere, as others ship it, and its preprocessing beside it."""
    rng = np.random.default_rng(3)
    weights: dict[str, np.ndarray] = {
        "w": rng.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32),
        "b": np.full(6, -40, np.float32),
        "c": rng.normal(0, 1, (2, 6)).astype(np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "zero": np.zeros((), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["map"]),
        *([helper.make_node("Pad", ["map", "pads", "zero"], ["pad"])] if padded else []),
        helper.make_node("MaxPool", ["pad" if padded else "map"], ["pool"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["pool"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "c"], ["scores"], transB=1),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(v, n) for n, v in weights.items() if n in used],
    )
    onnx.save(make_model(graph), path)
    stated = {"size": 32, "channels": "rgb", "scale": 1.0, "mean": [120] * 3, "std": [60] * 3}
    (path.parent / "config.json").write_text(json.dumps(stated))
    return path


def unmended(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an export as earlier versions made it."""
    old = onnx.ModelProto()
    old.CopyFrom(model)
    (tiny,) = (tensor for tensor in old.graph.initializer if "fx_pad/" in tensor.name)
    (pad,) = (node for node in old.graph.node if tiny.name in node.input)
    pad.input[2] = "zero"
    tiny.CopyFrom(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    return old


def keep_as_before(source: str, options: ExportOptions | None = None) -> str:
    """Leave a cache as an earlier version did after it exported `source`; return the fingerprint."""
    known = set(cache_folder().glob("sources/*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "with_safe_pads", lambda model: model)
        digest = load_backbone(source, options).fingerprint
    (note,) = set(cache_folder().glob("sources/*")) - known
    note.write_text(json.dumps({"fingerprint": digest}))
    return digest
