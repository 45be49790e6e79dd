"""A stand-in for the child that PyTorch runs in: small nets, and what it would answer of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.children import layout
from fxengine.backbones.graph.run import run_model
from fxengine.errors import InputError

FEATURES, CLASSES = 6, 4
VERSIONS = {"torch": "2", "onnxscript": "0"}
TIMM = {
    "input_size": [3, 24, 24],
    "interpolation": "bicubic",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "crop_pct": 0.75,
    "crop_mode": "center",
}
TORCHVISION = {
    "resize_size": [29],
    "crop_size": [24, 24],
    "interpolation": "bilinear",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
}
NAMES = ("Katze", "Hund", "Vogel", "Fisch")


def versions(kind: str) -> dict[str, str]:
    """Stand in for `torch_env.versions`."""
    return {**VERSIONS, kind: "1"}


def run(kind: str, jobs: list[dict[str, Any]], folder: Path) -> None:
    """Stand in for `torch_env.run`; a net whose name begins with "batch" takes something over its batch."""
    for job in jobs:
        if job["what"].endswith("nowhere"):
            raise InputError(f"{job['name']}: {kind} has no net of that name.")
        place = Path(job["folder"])
        place.mkdir()
        size = (job["height"] or 24, job["width"] or 24)
        net = classifier(job["what"].startswith("batch"), logits=job["logits"])
        photos = np.random.default_rng(3).integers(0, 256, (6, *size, 3), np.uint8)
        said = TORCHVISION if kind == "torchvision" else TIMM
        ready = (photos / 255 - np.asarray(said["mean"])) / np.asarray(said["std"])
        ready = np.ascontiguousarray(ready.transpose(0, 3, 1, 2), np.float32)
        arrays = {"photos": photos, "preprocessed": ready, **run_model(net, ready)}
        if kind == "torch-hf":
            output = "logits" if job["logits"] else "pooler_output"
            net.graph.input[0].CopyFrom(
                helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, *size])
            )
            for node in net.graph.node:
                node.input[:] = ["pixel_values" if name == "pictures" else name for name in node.input]
                node.output[:] = [output if name == "features" else name for name in node.output]
            net.graph.output[0].name = output
            arrays = {"in:pixel_values": ready, f"out:{output}": arrays["features"]}
        onnx.save(net, place / layout.NET)
        np.savez(place / layout.REFERENCE, allow_pickle=False, **arrays)
        answer = {"ok": True, "tried": ["stand-in"], "recipe": "stand-in", "versions": versions(kind)}
        answer |= {"seconds": 1.5, "peak_megabytes": 300, "preprocessing": said, "size": list(size), "pooling": "avg"}
        answer |= {"name": f"{job['what']} (tag)", "licence": "apache-2.0", "cut": "features", "classes": NAMES}
        (place / layout.ANSWER).write_text(json.dumps(answer))


def classifier(over_the_batch: bool = False, *, logits: bool = False) -> onnx.ModelProto:
    """Return a net of pictures [batch, 3, height, width] that gives `features`, and `logits` where asked."""
    rng = np.random.default_rng(4)
    weights = {"w": rng.normal(0, 1, (FEATURES, 3, 3, 3)), "top": rng.normal(0, 1, (FEATURES, CLASSES))}
    nodes = [
        helper.make_node("Conv", ["pictures", "w"], ["map"]),
        helper.make_node("Relu", ["map"], ["relu"]),
        helper.make_node("ReduceMean", ["relu"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["pooled", "mean"], ["features"])
        if over_the_batch
        else helper.make_node("Identity", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "top"], ["logits"]),
    ]
    kept = {"features": FEATURES, **({"logits": CLASSES} if logits else {})}
    graph = helper.make_graph(
        nodes[: None if logits else -1],
        "net",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim]) for name, dim in kept.items()],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
