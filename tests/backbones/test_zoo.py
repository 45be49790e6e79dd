from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest

from fxengine.backbones import load_backbone
from fxengine.backbones.cache import keep
from fxengine.backbones.children import torch_env
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.wire import read_metadata
from fxengine.backbones.zoo import list_backbones
from fxengine.errors import InputError
from fxengine.facts import FactsError
from tests.conftest import run_cli, tiny_model
from tests.texts import tiny_text_model


def test_every_name_says_what_it_is_and_what_it_needs() -> None:
    rows = {row["name"]: row for row in list_backbones().backbones if row["path"] is None}
    assert len(rows) == 42
    lite = rows["efficientnet_lite0"]
    assert (lite["dim"], lite["size"], lite["parameters"], lite["installed"]) == (1280, 224, 4631000, True)
    texts = rows["minilm_l6"]
    assert (texts["dim"], texts["size"], texts["multiply_adds"], texts["installed"]) == (384, 256, 10_616_832, True)
    net = rows["keras:ResNet50"]
    assert (net["dim"], net["size"], net["cached"], net["modality"]) == (2048, 224, False, "picture")
    assert net["install"] == ("" if net["installed"] else "pip install 'fxengine[keras]'")
    assert "tensorflow" not in sys.modules


def test_names_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(**said: str) -> list[str]:
        return [row["name"] for row in list_backbones(**said).backbones]

    known = {"timm": ("convnext_tiny.in12k", "resnet18.a1_in1k"), "torchvision": ("convnext_tiny:IMAGENET1K_V1",)}
    monkeypatch.setattr(torch_env, "names", lambda kind: known[kind])
    assert names(source="timm") == ["timm:convnext_tiny.in12k", "timm:resnet18.a1_in1k"]
    assert names(source="torchvision", like="ConvNeXt") == ["torchvision:convnext_tiny:IMAGENET1K_V1"]
    assert names(like="keras:mobilenetv3*") == ["keras:MobileNetV3Large", "keras:MobileNetV3Small"]
    with pytest.raises(InputError, match=r"No backbone has a name like 'resnet19'. Did you mean resnet18\.a1_in1k"):
        names(source="timm", like="resnet19")
    with pytest.raises(InputError, match="There is no `source` 'tim'"):
        names(source="tim")


def test_the_command_prints_a_list_of_objects() -> None:
    rows = json.loads(run_cli("backbones", "--json").stdout)
    assert {
        "name",
        "source",
        "dim",
        "size",
        "parameters",
        "multiply_adds",
        "licence",
        "installed",
        "install",
        "cached",
        "modality",
        "path",
    } == set(rows[0])
    assert "keras:ResNet50" in run_cli("backbones").stdout


def test_what_the_cache_holds_is_listed_and_serves_as_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path))
    assert [row["name"] for row in list_backbones().backbones if row["path"]] == []
    made = {keep(model, f"tiny-{i:016x}").fingerprint for i, model in enumerate((tiny_model(), tiny_text_model()))}
    damaged = tmp_path / "backbones" / f"{'0' * 64}.onnx"
    damaged.write_bytes(next((tmp_path / "backbones").glob("*.onnx")).read_bytes()[:-9])
    rows = [row for row in list_backbones().backbones if row["path"]]
    assert sorted((row["modality"], row["dim"], row["size"], row["cached"]) for row in rows) == [
        ("picture", 8, 32, True),
        ("text", 8, 16, True),
    ]
    assert {load_backbone(row["path"]).fingerprint for row in rows} == made
    assert "made by the tests" in run_cli("backbones").stdout


def test_metadata_is_read_without_the_graph(tmp_path: Path) -> None:
    for model in (tiny_model(), tiny_text_model()):
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        assert read_metadata(path) == metadata_of(model)
    whole = path.read_bytes()
    for broken in (whole[:-5], b"\xff" * 40, b"{}", whole + b"\x72\xff\xff\xff\xff\x0f"):
        path.write_bytes(broken)
        with pytest.raises(FactsError):
            read_metadata(path)
