from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources.preprocessing import Preparation, prepare, preprocessing_file
from fxengine.backbones.spec import PictureRecipe
from fxengine.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HUGGING_FACE: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
}
TIMM: dict[str, Any] = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "mean": list(MEAN),
    "std": list(STD),
    "crop_pct": 0.9,
    "crop_mode": "center",
}


def from_json(
    folder: Path, values: object, options: ExportOptions | None = None, net: tuple[int | None, int | None] = (224, 224)
) -> Preparation:
    file = folder / "stated.json"
    file.write_text(json.dumps(values))
    return prepare(replace(options or ExportOptions(), preprocess=file), net, folder)


def test_nothing_stated_is_refused(tmp_path: Path) -> None:
    for options in (ExportOptions(), ExportOptions(channels="bgr", size=(224, 224), resize="short")):
        with pytest.raises(InputError, match="give `scale`"):
            prepare(options, (224, 224), tmp_path)


def test_flags(tmp_path: Path) -> None:
    options = ExportOptions(channels="bgr", scale=1 / 255, mean=MEAN, std=STD)
    found = prepare(options, (224, 224), tmp_path)
    pixels = np.array([10.0, 100.0, 200.0])
    right = (pixels / 255 - MEAN) / STD
    np.testing.assert_allclose((pixels - found.mean) / found.std, right, rtol=1e-12)
    assert found.bgr
    assert found.source == "flags"
    assert found.recipe == PictureRecipe(224, 224, "short", 256, "bilinear")


def test_raw_pixels(tmp_path: Path) -> None:
    found = prepare(ExportOptions(scale=1), (64, 32), tmp_path)
    assert (found.mean, found.std, found.bgr) == ((0, 0, 0), (1, 1, 1), False)


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("short", PictureRecipe(224, 224, "short", 256, "bilinear")),
        ("short:232:bicubic", PictureRecipe(224, 224, "short", 232, "bicubic")),
        ("short:nearest", PictureRecipe(224, 224, "short", 256, "nearest")),
        ("long:224:lanczos", PictureRecipe(224, 224, "long", 224, "lanczos")),
        ("long", PictureRecipe(224, 224, "long", 224, "bilinear")),
        ("squash:bicubic", PictureRecipe(224, 224, "both", 224, "bicubic")),
    ],
)
def test_resize_flag(tmp_path: Path, text: str, recipe: PictureRecipe) -> None:
    assert prepare(ExportOptions(scale=1, resize=text), (224, 224), tmp_path).recipe == recipe


@pytest.mark.parametrize("text", ["", "tall", "short:x", "short:0", "short:256:cubic", "short:1:box:1", "squash:256"])
def test_bad_resize_flag(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="`resize`"):
        prepare(ExportOptions(scale=1, resize=text), (224, 224), tmp_path)


def test_sizes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has width 224, but the preprocessing says 256"):
        prepare(ExportOptions(scale=1, size=(224, 256)), (224, 224), tmp_path)
    with pytest.raises(InputError, match="leaves the height of its input open"):
        prepare(ExportOptions(scale=1), (None, None), tmp_path)
    assert prepare(ExportOptions(scale=1, size=(96, 64)), (None, 64), tmp_path).recipe.height == 96


@pytest.mark.parametrize(("scale", "std"), [(0.0, STD), (float("nan"), STD), (1.0, (1.0, 0.0, 1.0))])
def test_senseless_numbers(tmp_path: Path, scale: float, std: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="must be finite"):
        prepare(ExportOptions(scale=scale, std=std), (224, 224), tmp_path)


@pytest.mark.parametrize(
    ("change", "recipe"),
    [
        ({}, PictureRecipe(224, 224, "short", 256, "bicubic", rounding="down")),
        ({"size": 256, "crop_size": 224, "resample": 2}, PictureRecipe(224, 224, "short", 256, "bilinear",
                                                                    rounding="down")),
        ({"size": {"height": 224, "width": 224}, "do_center_crop": False, "resample": 1},
         PictureRecipe(224, 224, "both", 224, "lanczos", rounding="torchvision")),
        ({"size": 224, "do_center_crop": False, "resample": 0},
         PictureRecipe(224, 224, "both", 224, "nearest", rounding="torchvision")),
        ({"size": {"shortest_edge": 224}, "do_center_crop": False, "crop_pct": 0.875},
         PictureRecipe(224, 224, "short", 256, "bicubic", rounding="down")),
    ],
)  # fmt: skip
def test_hugging_face(tmp_path: Path, change: dict[str, Any], recipe: PictureRecipe) -> None:
    found = from_json(tmp_path, {**HUGGING_FACE, **change})
    assert found.recipe == recipe
    np.testing.assert_allclose(found.mean, np.array(MEAN) * 255)
    np.testing.assert_allclose(found.std, np.array(STD) * 255)


def test_the_processor_of_a_pair(tmp_path: Path) -> None:
    """Transformers 5 writes both parts into one file, processor_config.json."""
    alone = from_json(tmp_path, HUGGING_FACE)
    both = {"image_processor": HUGGING_FACE, "processor_class": "CLIPProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(both))
    (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
    found = prepare(ExportOptions(), (224, 224), tmp_path)
    assert (found.recipe, found.mean, found.std) == (alone.recipe, alone.mean, alone.std)
    assert found.source == "processor_config.json"


def test_hugging_face_without_a_step(tmp_path: Path) -> None:
    found = from_json(tmp_path, {**HUGGING_FACE, "do_normalize": False, "do_flip_channel_order": True})
    assert (found.mean, found.bgr) == ((0, 0, 0), True)
    np.testing.assert_allclose(found.std, 255)
    found = from_json(tmp_path, {**HUGGING_FACE, "do_rescale": False})
    np.testing.assert_allclose(found.std, STD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_center_crop": False}, "the size is open"),
        ({"size": {"height": 256, "width": 256}}, "squashes to .256, 256. and then cuts .224, 224."),
        ({"resample": 9}, "does not state 9"),
        ({"image_mean": [0.5]}, "takes three numbers"),
        ({"do_pad": True}, "asks for do_pad"),
        ({"size": "large"}, "not in the form"),
    ],
)
def test_hugging_face_that_cannot_be_done(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json(tmp_path, {**HUGGING_FACE, **change})


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    values = {key: value for key, value in HUGGING_FACE.items() if key != "resample"}
    with pytest.raises(InputError, match="does not state 'resample'"):
        from_json(tmp_path, values)
    assert from_json(tmp_path, values, ExportOptions(resize="squash")).recipe.edge == "both"


@pytest.mark.parametrize(
    ("change", "recipe"),
    [
        ({}, PictureRecipe(224, 224, "short", 248, "bicubic", rounding="torchvision")),
        ({"crop_pct": 1.0, "crop_mode": "squash"}, PictureRecipe(224, 224, "both", 224, "bicubic",
                                                              rounding="torchvision")),
        ({"crop_pct": 1.0, "crop_mode": "border"}, PictureRecipe(224, 224, "long", 224, "bicubic",
                                                              rounding="torchvision", pad_color=(124, 116, 104))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inside", [True, False])
def test_timm(tmp_path: Path, change: dict[str, Any], recipe: PictureRecipe, inside: bool) -> None:
    values = {**TIMM, **change}
    found = from_json(tmp_path, {"architecture": "x", "pretrained_cfg": values} if inside else values)
    assert found.recipe == recipe
    np.testing.assert_allclose(found.mean, np.array(MEAN) * 255)


def test_timm_that_cannot_be_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crop_mode 'squash'"):
        from_json(tmp_path, {**TIMM, "crop_mode": "squash"})
    with pytest.raises(InputError, match="interpolation 'random'"):
        from_json(tmp_path, {**TIMM, "interpolation": "random"})
    with pytest.raises(InputError, match="has 1 channels"):
        from_json(tmp_path, {**TIMM, "input_size": [1, 28, 28]})


def test_own_form(tmp_path: Path) -> None:
    values = {"size": 64, "channels": "bgr", "mean": [104, 117, 123], "resize": "short:72:box"}
    found = from_json(tmp_path, values, net=(None, None))
    assert found.recipe == PictureRecipe(64, 64, "short", 72, "box")
    assert (found.bgr, found.mean, found.std) == (True, (104, 117, 123), (1, 1, 1))
    with pytest.raises(InputError, match="neither Hugging Face's"):
        from_json(tmp_path, {**values, "colour": 1})


def test_flags_come_before_files(tmp_path: Path) -> None:
    flags = ExportOptions(std=(1, 2, 3), size=(448, 448))
    found = from_json(tmp_path, TIMM, flags, (None, None))
    assert (found.recipe.height, found.recipe.size) == (448, 496)
    np.testing.assert_allclose(found.std, [255, 510, 765])
    np.testing.assert_allclose(found.mean, np.array(MEAN) * 255)
    assert found.source == "flags over stated.json"


def test_means_of_a_file_stay_with_their_colours(tmp_path: Path) -> None:
    found = from_json(tmp_path, TIMM, ExportOptions(channels="bgr"))
    np.testing.assert_allclose(found.mean, np.array(MEAN[::-1]) * 255)


def test_files_beside_the_model(tmp_path: Path) -> None:
    assert preprocessing_file(ExportOptions(), tmp_path) is None
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "vit", "hidden_size": 768}))
    assert preprocessing_file(ExportOptions(), tmp_path) is None
    config.write_text(json.dumps({"pretrained_cfg": TIMM}))
    assert preprocessing_file(ExportOptions(), tmp_path) == config
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(HUGGING_FACE))
    found = prepare(ExportOptions(), (224, 224), tmp_path)
    assert (found.source, found.recipe.size) == ("preprocessor_config.json", 256)
    assert from_json(tmp_path, TIMM).recipe.size == 248
    with pytest.raises(InputError, match="There is no preprocessing file"):
        preprocessing_file(ExportOptions(preprocess=tmp_path / "absent.json"), tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_unreadable_json(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="JSON"):
        prepare(ExportOptions(preprocess=file), (224, 224), tmp_path)


@pytest.mark.parametrize(
    ("said", "recipe"),
    [
        ({}, PictureRecipe(224, 224, "short", 224, "bicubic", rounding="torchvision")),
        ({"interpolation": "bilinear"}, PictureRecipe(224, 224, "short", 224, "bilinear", rounding="torchvision")),
        ({"resize_mode": "squash"}, PictureRecipe(224, 224, "both", 224, "bicubic", rounding="torchvision")),
        (
            {"resize_mode": "longest", "fill_color": 127},
            PictureRecipe(224, 224, "long", 224, "bicubic", rounding="torchvision", pad_color=(127, 127, 127)),
        ),
    ],
)
def test_open_clips_preprocess_cfg(tmp_path: Path, said: dict[str, object], recipe: PictureRecipe) -> None:
    values = {"size": [224, 224], "mode": "RGB", "mean": [0.5, 0.4, 0.3], "std": [0.5] * 3, "resize_mode": "shortest"}
    (tmp_path / "preprocess_cfg.json").write_text(json.dumps({**values, **said}))
    found = prepare(ExportOptions(), (224, 224), tmp_path)
    assert found.recipe == recipe
    np.testing.assert_allclose(found.mean, [127.5, 102, 76.5])
    np.testing.assert_allclose(found.std, [127.5] * 3)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"interpolation": "random"}, "interpolation 'random' is not one"),
        ({"resize_mode": "shortest", "size": [224, 192]}, r"resize_mode 'shortest' to \(224, 192\) is not one"),
        ({"mode": "L"}, "mode is 'L'"),
    ],
)
def test_what_open_clip_says_and_is_not_done(tmp_path: Path, said: dict[str, object], why: str) -> None:
    values = {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    (tmp_path / "preprocess_cfg.json").write_text(json.dumps({**values, **said}))
    with pytest.raises(InputError, match=why):
        prepare(ExportOptions(), (None, None), tmp_path)
