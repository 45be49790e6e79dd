"""Transformers as torch's exporters write them with a fixed batch: they take any number of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_onnx
from fxengine.backbones.spec import METADATA_KEY, Facts

SIDE, DIM, HEADS, TOKENS, CLASSES = 32, 16, 4, 17, 5
EACH = DIM // HEADS
PIXELS = np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


class Writer:
    """Writes a graph node by node; shapes are Constant nodes, weights are random."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self.rng = np.random.default_rng(0)

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def ints(self, *values: int) -> str:
        return self("Constant", value=numpy_helper.from_array(np.array(values, np.int64)))

    def array(self, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def random(self, *shape: int) -> str:
        return self.array(self.rng.normal(0, 0.3, shape).astype(np.float32))

    def pick(self, tensor: str, i: int, axis: int) -> str:
        return self("Gather", tensor, self.array(np.array(i, np.int64)), axis=axis)

    def norm(self, tensor: str) -> str:
        return self("LayerNormalization", tensor, self.random(DIM), self.random(DIM), axis=-1)

    def linear(self, tensor: str, width: int) -> str:
        return self("Add", self("MatMul", tensor, self.random(DIM, width)), self.random(width))

    def shaped(self, tensor: str, *shape: int, perm: Sequence[int] | None = None) -> str:
        result = self("Reshape", tensor, self.ints(*shape))
        return result if perm is None else self("Transpose", result, perm=perm)

    def attention(self, q: str, k: str) -> str:
        perm = [0, 2, 1] if self.folded else [0, 1, 3, 2]
        return self("Softmax", self("MatMul", q, self("Transpose", k, perm=perm)), axis=-1)

    folded = False

    def save(self, tensor: str, batch: int, path: Path) -> Path:
        self.nodes.append(helper.make_node("Gemm", [tensor, self.random(DIM, CLASSES)], ["logits"], name="head"))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        return path


def cls_old(w: Writer, batch: int) -> str:
    """`expand(batch, -1, -1)` as the old exporter writes it, not folded."""
    shape = w.ints(batch, -1, -1)
    ones = w("ConstantOfShape", w.ints(3), value=numpy_helper.from_array(np.array([1], np.int64)))
    return w("Expand", w.random(1, 1, DIM), w("Where", w("Equal", shape, w.ints(-1, -1, -1)), ones, shape))


def cls_dynamo(w: Writer, batch: int) -> str:
    return w("Expand", w.random(1, 1, DIM), w("Abs", w.ints(batch, 1, 1)))


def cls_folded(w: Writer, batch: int) -> str:
    return w.array(np.repeat(w.rng.normal(0, 0.3, (1, 1, DIM)).astype(np.float32), batch, axis=0))


def tokens(w: Writer, batch: int, cls: Callable[[Writer, int], str]) -> str:
    patches = w("Conv", "x", w.random(DIM, 3, 8, 8), strides=[8, 8])
    patches = w.shaped(patches, batch, DIM, TOKENS - 1, perm=[0, 2, 1])
    return w("Add", w("Concat", cls(w, batch), patches, axis=1), w.random(1, TOKENS, DIM))


def timm(w: Writer, b: int, cls: Callable[[Writer, int], str]) -> str:
    """One product for q, k and v, heads beside the batch."""
    y = tokens(w, b, cls)
    qkv = w.shaped(w.linear(w.norm(y), 3 * DIM), b, TOKENS, 3, HEADS, EACH, perm=[2, 0, 3, 1, 4])
    q, k, v = (w.pick(qkv, i, axis=0) for i in range(3))
    z = w("Transpose", w("MatMul", w.attention(q, k), v), perm=[0, 2, 1, 3])
    y = w("Add", y, w.linear(w.shaped(z, b, TOKENS, DIM), DIM))
    return w.pick(w.norm(y), 0, axis=1)


def torchvision(w: Writer, b: int, cls: Callable[[Writer, int], str]) -> str:
    """MultiheadAttention: tokens first, the batch second, then times the heads, then times the tokens."""
    y = tokens(w, b, cls)
    qkv = w.linear(w("Transpose", w.norm(y), perm=[1, 0, 2]), 3 * DIM)
    qkv = w("Unsqueeze", w.shaped(qkv, TOKENS, b, 3, DIM), w.ints(0))
    qkv = w("Squeeze", w("Transpose", qkv, perm=[3, 1, 2, 0, 4]), w.ints(3))
    q, k, v = (w.shaped(w.pick(qkv, i, axis=0), TOKENS, b * HEADS, EACH, perm=[1, 0, 2]) for i in range(3))
    q, k, v = (w.shaped(part, b, HEADS, TOKENS, EACH) for part in (q, k, v))
    z = w("Transpose", w("MatMul", w.attention(q, k), v), perm=[2, 0, 1, 3])
    z = w("Gemm", w.shaped(z, TOKENS * b, DIM), w.random(DIM, DIM))
    y = w("Add", y, w.shaped(z, TOKENS, b, DIM, perm=[1, 0, 2]))
    return w.pick(w.norm(y), 0, axis=1)


def clip(w: Writer, b: int, cls: Callable[[Writer, int], str]) -> str:
    """Heads folded into the batch, and a GELU of com.microsoft."""
    y = tokens(w, b, cls)
    w.folded = True
    parts = [w.shaped(w.linear(w.norm(y), DIM), b, -1, HEADS, EACH, perm=[0, 2, 1, 3]) for _ in range(3)]
    q, k, v = (w.shaped(part, b * HEADS, -1, EACH) for part in parts)
    z = w.shaped(w("MatMul", w.attention(q, k), v), b, HEADS, TOKENS, EACH, perm=[0, 2, 1, 3])
    z = w("Gelu", w.linear(w.shaped(z, b, TOKENS, DIM), DIM), domain="com.microsoft")
    return w.pick(w.shaped(w("Add", y, z), b, TOKENS, DIM), 0, axis=1)


def swin(w: Writer, b: int, cls: Callable[[Writer, int], str]) -> str:
    """Windows folded into the batch, a mask for each."""
    y = w.shaped(w("Conv", "x", w.random(DIM, 3, 4, 4), strides=[4, 4]), b, DIM, 64, perm=[0, 2, 1])
    z = w.shaped(w.shaped(w.norm(y), b, 8, 8, DIM), b, 2, 4, 2, 4, DIM, perm=[0, 1, 3, 2, 4, 5])
    z = w.shaped(w.shaped(z, 4 * b, 4, 4, DIM), 4 * b, 16, DIM)
    qkv = w.shaped(w.linear(z, 3 * DIM), 4 * b, 16, 3, HEADS, EACH, perm=[2, 0, 3, 1, 4])
    q, k, v = (w.pick(qkv, i, axis=0) for i in range(3))
    masked = w("Add", w.shaped(w.attention(q, k), b, 4, HEADS, 16, 16), w.random(1, 4, 1, 16, 16))
    z = w("Transpose", w("MatMul", w.shaped(masked, 4 * b, HEADS, 16, 16), v), perm=[0, 2, 1, 3])
    z = w.shaped(w.shaped(z, 4 * b, 16, DIM), 4 * b, 4, 4, DIM)
    z = w.shaped(w.shaped(z, b, 2, 2, 4, 4, DIM, perm=[0, 1, 3, 2, 4, 5]), b, 8, 8, DIM)
    return w("ReduceMean", w("Add", y, w.shaped(z, b, 64, DIM)), axes=[1], keepdims=0)


def probe(w: Writer, b: int, cls: Callable[[Writer, int], str]) -> str:
    """A resized map, a shape put together of constants and lengths, and one token that asks (SigLIP)."""
    y = w("Conv", "x", w.random(DIM, 3, 8, 8), strides=[8, 8])
    y = w("Resize", y, "", "", w.ints(b, DIM, 5, 5), mode="nearest")
    height, width = (w.pick(w("Shape", y), i, axis=0) for i in (2, 3))
    shape = w("Concat", w.ints(b), w.ints(DIM), w("Unsqueeze", w("Mul", height, width), w.ints(0)), axis=0)
    y = w("Transpose", w("Reshape", y, shape), perm=[0, 2, 1])
    q = w.shaped(w.linear(w.random(1, 1, DIM), DIM), 1, 1, HEADS, EACH, perm=[0, 2, 1, 3])
    k, v = (w.shaped(w.linear(y, DIM), b, 25, HEADS, EACH, perm=[0, 2, 1, 3]) for _ in range(2))
    z = w("Transpose", w("MatMul", w.attention(q, k), v), perm=[0, 2, 1, 3])
    return w("Squeeze", w.shaped(z, b, 1, DIM), w.ints(1))


def alone(path: Path, tensor: str, batch: int) -> np.ndarray:
    """Return what the file itself makes of each picture, as often beside itself as the file wants it."""
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = PIXELS.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.stack([session.run([tensor], {"x": np.repeat(value[None], batch, axis=0)})[0][0] for value in values])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("net", "cls"),
    [
        *((net, cls) for net in (timm, torchvision, clip) for cls in (cls_old, cls_dynamo, cls_folded)),
        (swin, cls_old),
        (probe, cls_old),
    ],
)
def test_a_transformer_of_a_fixed_batch_takes_any_number_of_pictures(
    net: Callable[..., str], cls: Callable[[Writer, int], str], batch: int, tmp_path: Path
) -> None:
    writer = Writer()
    path = writer.save(net(writer, batch, cls), batch, tmp_path / "net.onnx")
    model = from_onnx.export(str(path), ExportOptions(scale=1 / 255))
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    right = alone(path, facts.cut, batch)
    for pictures in (1, 2, 5):
        found = session.run(["features"], {"images": PIXELS[:pictures]})[0]
        np.testing.assert_allclose(found, right[:pictures], atol=1e-5 * np.abs(right).max())
    assert facts.notes["batch"] == f"{batch} in the file, opened"
    assert facts.multiply_adds is not None
