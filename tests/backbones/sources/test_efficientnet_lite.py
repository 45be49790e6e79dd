from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fxengine.backbones import load_backbone
from fxengine.backbones.cache import write_backbone
from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.sources import efficientnet_lite
from fxengine.backbones.sources.torch_state import read_state
from fxengine.backbones.spec import METADATA_KEY, Facts
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.errors import InputError
from fxengine.execute import open_session


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return efficientnet_lite.build()


@pytest.fixture(scope="module")
def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def facts_of(model: onnx.ModelProto) -> Facts:
    return Facts.from_json(metadata_of(model)[METADATA_KEY])


def dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_the_graph_begins_with_the_prologue(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
    head = model.graph.node[:4]
    assert [node.name for node in head] == ["fx_pre/cast", "fx_pre/transpose", "fx_pre/sub", "fx_pre/mul"]
    assert [node.op_type for node in head] == ["Cast", "Transpose", "Sub", "Mul"]
    np.testing.assert_array_equal(weights["fx_pre/mean"].ravel(), np.array([127, 127, 127], np.float32))
    np.testing.assert_array_equal(weights["fx_pre/scale"].ravel(), np.array([1 / 128] * 3, np.float32))
    assert not any(node.name.startswith("fx_pre/") for node in model.graph.node[4:])


def test_inputs_and_outputs(model: onnx.ModelProto) -> None:
    (images,) = model.graph.input
    assert (images.name, dims(images)) == ("images", ["batch", 224, 224, 3])
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    outputs = {value.name: dims(value) for value in model.graph.output}
    assert outputs == {"features": ["batch", 1280], "logits": ["batch", 1000]}
    assert {value.type.tensor_type.elem_type for value in model.graph.output} == {onnx.TensorProto.FLOAT}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert {value.name: dims(value) for value in inferred.graph.output} == outputs


def test_facts(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
    facts = facts_of(model)
    assert (facts.name, facts.dim, facts.pooling) == ("efficientnet_lite0", 1280, "avg")
    assert facts.recipe == efficientnet_lite.RECIPE
    own = {name: w for name, w in weights.items() if not name.startswith("fx_pre/") and name not in ("zero", "six")}
    assert facts.parameters == sum(w.size for w in own.values())
    # The paper's table says 4.7M parameters and 407M multiply-adds; batch norm is folded here.
    assert 4.60e6 < facts.parameters < 4.70e6
    assert facts.multiply_adds is not None
    assert 0.38e9 < facts.multiply_adds < 0.42e9


def test_the_class_names_are_a_thousand_different_ones(model: onnx.ModelProto) -> None:
    facts = facts_of(model)
    assert len(set(facts.classes)) == len(facts.classes) == 1000
    assert len(set(facts.class_ids)) == len(facts.class_ids) == 1000
    assert list(facts.class_ids) == sorted(facts.class_ids)
    assert (facts.class_ids[0], facts.classes[0]) == ("n01440764", "tench")
    assert facts.class_ids[999] == "n15075141"
    assert all(name == name.strip() and name for name in facts.classes)


def test_the_projection_of_block_0_is_its_convolution_and_batch_norm(weights: dict[str, np.ndarray]) -> None:
    state = {name: array.astype(np.float64) for name, array in read_state(efficientnet_lite.weights_path()).items()}
    conv, norm = "_blocks.0._project_conv", "_blocks.0._bn2"
    x = np.random.default_rng(1).normal(0, 2, (2, 32, 5, 7))
    plain = np.einsum("oi,nihw->nohw", state[f"{conv}.weight"][:, :, 0, 0], x)

    def channel(name: str) -> np.ndarray:
        return state[f"{norm}.{name}"][None, :, None, None]

    expected = (plain - channel("running_mean")) / np.sqrt(channel("running_var") + 1e-3)
    expected = expected * channel("weight") + channel("bias")
    folded = np.einsum("oi,nihw->nohw", weights[f"{conv}.weight"][:, :, 0, 0].astype(np.float64), x)
    folded += weights[f"{conv}.bias"][None, :, None, None]
    assert expected.shape == (2, 16, 5, 7)
    np.testing.assert_allclose(folded, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected - plain).max() > 1  # the batch norm does do something


def test_strided_convolutions_pad_as_tensorflow_does(model: onnx.ModelProto) -> None:
    pads = {}
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv" and attributes["strides"] == [2, 2]:
            pads[node.input[1]] = (attributes["kernel_shape"][0], attributes["pads"])
    # Even sides all the way down: SAME puts the odd pixel at the bottom and the right.
    assert pads == {
        "_conv_stem.weight": (3, [0, 0, 1, 1]),
        "_blocks.1._depthwise_conv.weight": (3, [0, 0, 1, 1]),
        "_blocks.3._depthwise_conv.weight": (5, [1, 1, 2, 2]),
        "_blocks.5._depthwise_conv.weight": (3, [0, 0, 1, 1]),
        "_blocks.11._depthwise_conv.weight": (5, [1, 1, 2, 2]),
    }


def test_building_twice_gives_one_feature_space(model: onnx.ModelProto) -> None:
    recipe = efficientnet_lite.RECIPE
    assert fingerprint(efficientnet_lite.build(), recipe) == fingerprint(model, recipe)


def test_another_weights_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"is not the file that fxengine knows: reinstall"):
        efficientnet_lite.build()


def decoded(paths: list[Path]) -> np.ndarray:
    recipe, limits = efficientnet_lite.RECIPE, Limits()
    images = np.empty((len(paths), recipe.height, recipe.width, 3), np.uint8)
    for path, out in zip(paths, images, strict=True):
        data = path.read_bytes()
        picture.decode_into(data, picture.read_header(data, limits), recipe, out)
    return images


def accuracy(path: Path, images: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    session = open_session(path, "cpu", 10)
    logits = session.run({"images": images}, ["logits"])["logits"]
    session.close()
    best = np.argsort(-logits, axis=1)[:, :5]
    hits = best == truth[:, None]
    return float(hits[:, 0].mean()), float(hits.any(axis=1).mean())


@pytest.mark.slow
def test_accuracy_on_real_photos(
    shared_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(shared_data("imagenet_500").iterdir())
    backbone = load_backbone("efficientnet_lite0")
    index = {wnid: i for i, wnid in enumerate(backbone.facts.class_ids)}
    truth = np.array([index[path.name.split("_")[0]] for path in paths])
    images = decoded(paths)
    assert len(images) == 500

    top1, top5 = accuracy(backbone.path, images, truth)
    assert top1 >= 0.882
    assert top5 >= 0.965

    # The measure notices what goes wrong most often: channels the other way round, another mean.
    bgr, _ = accuracy(backbone.path, images[..., ::-1], truth)
    assert bgr < 0.882
    monkeypatch.setattr(efficientnet_lite, "MEAN", (0.0,) * 3)
    monkeypatch.setattr(efficientnet_lite, "STD", (255.0,) * 3)
    wrong = tmp_path / "wrong_mean.onnx"
    write_backbone(efficientnet_lite.build(), wrong)
    scaled, _ = accuracy(wrong, images, truth)
    assert scaled < 0.882
    assert max(bgr, scaled) < top1 - 0.02
