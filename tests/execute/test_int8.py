from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fxengine.backbones import load_backbone
from fxengine.backbones.cache import write_backbone
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.execute import open_session
from fxengine.execute.fidelity import compare
from fxengine.execute.int8 import int8_file, quantise
from tests.conftest import tiny_model
from tests.execute.test_onnx_runtime import images


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone with a second convolution, since the first one is never quantised."""
    model = tiny_model()
    weights = np.random.default_rng(3).normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w2"))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    at = list(model.graph.node).index(relu)
    second = onnx.helper.make_node("Conv", ["relu1", "w2"], ["map2"], name="second")
    last = onnx.helper.make_node("Relu", ["map2"], ["relu"])
    relu.output[0] = "relu1"
    model.graph.node.insert(at + 1, last)
    model.graph.node.insert(at + 1, second)
    path = tmp_path_factory.mktemp("deep") / "deep.onnx"
    write_backbone(model, path)
    return path


def kept(digest: str) -> Path:
    path = int8_file(digest)
    assert path is not None
    return path


def test_the_copy_is_kept_by_its_own_hash_and_leaves_the_prologue_alone(deep: Path) -> None:
    level = logging.root.manager.disable
    digest = quantise(deep, {"images": images(16)})
    path = kept(digest)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert logging.root.manager.disable == level
    assert not list(path.parent.glob(".*"))
    nodes = {node.name: node for node in onnx.load(path).graph.node}
    assert list(nodes["fx_pre/cast"].input) == ["images"]
    assert [nodes[f"fx_pre/{name}"].op_type for name in ("sub", "mul", "transpose")] == ["Sub", "Mul", "Transpose"]


def test_weights_are_8_bits_a_channel(deep: Path) -> None:
    graph = onnx.load(kept(quantise(deep, {"images": images(16)}))).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    second = next(node for node in graph.node if node.name == "second")
    weights = next(node for node in graph.node if node.output[0] == second.input[1])
    stored, scale = values[weights.input[0]], values[weights.input[1]]
    assert str(stored.dtype) == "int8"
    assert scale.shape == (8,)
    wanted = np.random.default_rng(3).normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32)
    np.testing.assert_allclose(stored * scale[:, None, None, None], wanted, atol=np.abs(wanted).max() / 60)


def test_other_pictures_give_another_copy(deep: Path) -> None:
    assert quantise(deep, {"images": images(8, 1)}) != quantise(deep, {"images": images(8, 1) // 4})


@pytest.mark.slow
def test_a_real_net_stays_near_its_features(shared_data: Callable[[str], Path]) -> None:
    """What int8 costs EfficientNet-Lite0; it is too much for the gate, and the gate must say so."""
    backbone = load_backbone("efficientnet_lite0")
    paths = sorted(shared_data("imagenet_500").iterdir())[::8]
    pictures = np.empty((len(paths), 224, 224, 3), np.uint8)
    for path, out in zip(paths, pictures, strict=True):
        data = path.read_bytes()
        picture.decode_into(data, picture.read_header(data, Limits()), backbone.picture_recipe, out)
    digest = quantise(backbone.path, {"images": pictures[::3]})
    others = np.delete(pictures, slice(None, None, 3), axis=0)
    reference = open_session(backbone.path, "cpu").run({"images": others})["features"]
    session = open_session(kept(digest), "cpu", precision="int8")
    found = compare(reference, session.run({"images": others})["features"])
    assert (session.precision, session.provider) == ("int8", "OpenVINO CPU")
    assert 0.98 < found.mean_cosine < 0.999
    assert not found.keeps_features
