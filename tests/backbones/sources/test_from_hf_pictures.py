"""Nets of pictures in repositories: what their outputs' names and the files beside them say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto

from fxengine.backbones import load_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources.from_hf import candidates, identity
from fxengine.backbones.spec import BackboneFile, PictureRecipe
from fxengine.errors import InputError
from tests.backbones.sources import hf_nets
from tests.backbones.sources.hf_nets import Graph
from tests.pairs import HUGGING_FACE, MEAN, OPEN_CLIP, PATCH, SIDE, STD

DIM = 6
TIMM = {
    "architecture": "tiny", "num_features": DIM, "pretrained_cfg": {
        "input_size": [3, SIDE, SIDE], "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "squash",
        "mean": MEAN, "std": STD, "license": "mit",
    },
}  # fmt: skip
SQUASH = PictureRecipe(SIDE, SIDE, "both", SIDE, "bilinear", rounding="torchvision", scaled_decode=True)


def tokens(net: Graph, name: str) -> str:
    """Add patches and a mixing of them: [batch, 4, DIM]."""
    net.op("Conv", [name, net.random("patches", DIM, 3, PATCH, PATCH)], "map", strides=[PATCH, PATCH])
    net.op("Reshape", ["map", net.const("flat", np.array([0, DIM, -1]))], "columns")
    net.op("Transpose", ["columns"], "turned", perm=[0, 2, 1])
    net.op("Add", ["turned", net.random("places", 4, DIM)], "placed")
    return net.op("Tanh", ["placed"], "tokens")


def save(path: Path, *outputs: str, name: str = "pixel_values") -> Path:
    """Save a vision transformer's outline with these outputs."""
    net = Graph(2)
    tokens(net, name)
    made: dict[str, Any] = {"last_hidden_state": ["batch", 4, DIM], "pooler_output": ["batch", DIM]}
    net.op("Identity", ["tokens"], "last_hidden_state")
    net.op("Gather", ["tokens", net.const("zero", np.int64(0))], "pooler_output", axis=1)
    net.op("MatMul", ["pooler_output", net.random("projection", DIM, 5)], "image_embeds")
    net.op("MatMul", ["pooler_output", net.random("classes", DIM, 3)], "product")
    net.op("Add", ["product", net.random("bias", 3)], "logits")
    made |= {"image_embeds": ["batch", 5], "logits": ["batch", 3]}
    return net.save(path, {name: (TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])}, {each: made[each] for each in outputs})


def check(found: BackboneFile, path: Path, output: str, cls: bool = False) -> None:
    """Check that features are the net's own output for pixels as its makers prepare them."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    pixels = (pictures / 255 - MEAN) / STD
    session = ort.InferenceSession(path)
    (wanted,) = session.run([output], {session.get_inputs()[0].name: pixels.transpose(0, 3, 1, 2).astype(np.float32)})
    (made,) = ort.InferenceSession(found.path).run(["features"], {"images": pictures})
    np.testing.assert_allclose(made, wanted[:, 0] if cls else wanted, rtol=0, atol=1e-5)
    assert found.recipe == SQUASH


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("preprocessor_config.json", HUGGING_FACE),
        ("config.json", TIMM),
        ("open_clip_config.json", {"preprocess_cfg": OPEN_CLIP}),
    ],
)
def test_what_states_the_pixels(tmp_path: Path, name: str, said: dict[str, object]) -> None:
    path = save(tmp_path / "onnx" / "model.onnx", "pooler_output")
    found = load_backbone(f"hf:{hf_nets.write(tmp_path, {name: said})}")
    check(found, path, "pooler_output")
    assert found.facts.notes["preprocessing"] == name
    assert found.facts.licence == ("mit" if said is TIMM else "not stated")
    assert found.facts.source == f"hf:{tmp_path} onnx/model.onnx"
    assert found.facts.notes["hf"]["file"] == "onnx/model.onnx"


def test_a_pairs_tower(tmp_path: Path) -> None:
    path = save(tmp_path / "onnx" / "vision_model.onnx", "last_hidden_state", "pooler_output", "image_embeds")
    files = {
        "preprocessor_config.json": HUGGING_FACE,
        "config.json": {"model_type": "clip"},
        "onnx/text_model.onnx": b"",
    }
    hf_nets.write(tmp_path, files)
    found = load_backbone(f"hf:{tmp_path}", ExportOptions(tower="image"))
    check(found, path, "image_embeds")
    assert (found.facts.metric, found.facts.name) == ("cosine", f"{tmp_path.name}-vision_model")


def test_immichs_tower(tmp_path: Path) -> None:
    path = save(tmp_path / "visual" / "model.onnx", "image_embeds", name="image")
    hf_nets.write(
        tmp_path, {"visual/preprocess_cfg.json": OPEN_CLIP, "config.json": {"embed_dim": 5, "vision_cfg": {}}}
    )
    found = load_backbone(f"hf:{tmp_path}")
    check(found, path, "image_embeds")
    assert found.facts.name == f"{tmp_path.name}-visual"


def test_a_classifier_keeps_its_classes(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", "logits")
    config = {"id2label": {"0": "cat", "1": "dog", "2": "bird"}, "model_type": "vit"}
    hf_nets.write(tmp_path, {"preprocessor_config.json": HUGGING_FACE, "config.json": config})
    found = load_backbone(f"hf:{tmp_path}")
    assert (found.facts.classes, found.facts.cut) == (("cat", "dog", "bird"), "pooler_output")
    assert path.is_file()
    default = [each["tensor"] for each in candidates(str(tmp_path)) if each["default"]]
    assert default == ["pooler_output"]


def test_which_patch_stands_for_a_picture_is_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", "last_hidden_state", "pooler_output")
    files = {"preprocessor_config.json": HUGGING_FACE, "config.json": {"model_type": "vit"}}
    folder = hf_nets.write(tmp_path, files)
    with pytest.raises(InputError, match=r"give `pooling` cls \(the first\) or avg, or hf:.*#model.onnx@pooler_output"):
        load_backbone(f"hf:{folder}")
    check(load_backbone(f"hf:{folder}", ExportOptions(pooling="cls")), path, "last_hidden_state", cls=True)
    check(load_backbone(f"hf:{folder}#model.onnx@pooler_output"), path, "pooler_output")
    hf_nets.write(tmp_path, {"config.json": {"model_type": "dinov2"}})
    check(load_backbone(f"hf:{folder}"), path, "pooler_output")


def test_what_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "model.onnx", "pooler_output")
    with pytest.raises(InputError, match="How the net wants its pixels is not stated"):
        load_backbone(f"hf:{tmp_path}")
    hf_nets.write(tmp_path, {"preprocessor_config.json": {"do_resize": True, "patch_size": 16, "max_num_patches": 256}})
    with pytest.raises(InputError, match=r"no fixed size \(NaFlex\)"):
        load_backbone(f"hf:{tmp_path}")
    hf_nets.write(tmp_path, {"preprocessor_config.json": HUGGING_FACE})
    with pytest.raises(InputError, match="takes pictures: `prompt`, and `pooling` last"):
        load_backbone(f"hf:{tmp_path}", ExportOptions(prompt="query"))
    before = identity(str(tmp_path), ExportOptions())
    hf_nets.write(tmp_path, {"config.json": {"model_type": "dinov2"}})
    assert identity(str(tmp_path), ExportOptions()) != before
