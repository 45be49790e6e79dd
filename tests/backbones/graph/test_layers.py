from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from fxengine.backbones import load_backbone
from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.graph.layers import with_layers
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.decode import preparer_of
from fxengine.errors import InputError
from tests.conftest import tiny_model


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images}), strict=True))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("layers", "outputs"),
    [
        (("map", "features"), {"features@map", "features", "logits"}),
        (("features", "map"), {"features@features", "features", "logits"}),
        (("map", "relu"), {"features@map", "features", "logits"}),
        (("relu",), {"features", "logits"}),
    ],
)
def test_layers_are_pooled_outputs_and_the_last_is_features(
    layers: tuple[str, ...], outputs: set[str], images: np.ndarray, tmp_path: Path
) -> None:
    write_backbone(tiny_model(), tmp_path / "a.onnx")
    own = run(tmp_path / "a.onnx", images)
    write_backbone(with_layers(tiny_model(), layers), tmp_path / "b.onnx")
    found = run(tmp_path / "b.onnx", images)
    assert set(found) == outputs
    np.testing.assert_allclose(found["logits"], own["logits"], atol=1e-5)
    relu = own["features"]  # the tiny net's features are the average of its relu
    for layer, name in zip(layers, [*(f"features@{x}" for x in layers[:-1]), "features"], strict=True):
        if layer in ("relu", "features"):
            np.testing.assert_allclose(found[name], relu, atol=1e-5)
        else:
            assert (found[name] < relu).all()  # the average before the relu
    facts = read_backbone(tmp_path / "b.onnx").facts
    assert facts.dim == 8
    assert facts.layers == tuple((layer, 8) for layer in layers[:-1])


def test_other_layers_are_another_space_and_are_made_once(tiny: BackboneFile) -> None:
    options = ExportOptions(layers=("map", "features"))
    made = load_backbone(tiny.path, options)
    assert made.fingerprint != tiny.fingerprint
    assert load_backbone(tiny.path, options) == made


def test_an_unknown_layer_lists_the_nearest() -> None:
    with pytest.raises(InputError, match=r"tiny has no layer 'rely'. Near it: relu"):
        with_layers(tiny_model(), ("rely",))


@pytest.mark.slow
def test_a_middle_layer_of_the_embedded_backbone() -> None:
    made = load_backbone("efficientnet_lite0", ExportOptions(layers=("_blocks.10/out", "features")))
    assert made.facts.layers == (("_blocks.10/out", 112),)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    found = run(made.path, images)
    own = run(load_backbone("efficientnet_lite0").path, images)
    np.testing.assert_allclose(found["features"], own["features"], atol=1e-4)
    assert found["features@_blocks.10/out"].shape == (2, 112)


def test_a_layer_of_texts_is_the_mean_over_its_own_tokens(tmp_path: Path) -> None:
    found = load_backbone("minilm_l6", ExportOptions(layers=("encoder.layer.2.output.LayerNorm", "features")))
    session = ort.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    tokens = np.random.default_rng(0).integers(1000, 9000, (2, 9)).astype(np.int32)
    padded = session.run(None, {"tokens": tokens, "lengths": np.array([9, 5], np.int32)})
    alone = session.run(None, {"tokens": tokens[1:, :5], "lengths": np.array([5], np.int32)})
    hidden = session.get_outputs()
    assert [output.name for output in hidden] == ["features@encoder.layer.2.output.LayerNorm", "features"]
    for both, one in zip(padded, alone, strict=True):
        np.testing.assert_allclose(both[1], one[0], atol=1e-6)
    assert preparer_of(found).open(b"It has its tokenizer.").fill(preparer_of(found).room(1), 0).further["tokens"] == 8
    with pytest.raises(InputError, match="of texts, a layer is a tensor of a vector a token"):
        load_backbone("minilm_l6", ExportOptions(layers=("encoder.layer.2.output.LayerNorm",), pooling="max"))
