from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine import InputError, extract
from fxengine.backbones import find_space, load_backbone, source_name
from fxengine.backbones.cache import read_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.features.read import FeatureStore
from fxengine.tasks.export import export
from fxengine.tasks.info import describe, layers
from tests.conftest import run_cli

PIXELS = ExportOptions(size=(32, 32), channels="rgb", scale=1.0, mean=(120.0,) * 3, std=(60.0,) * 3)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Return a classifier as others ship it: NCHW floats in, two classes out."""
    rng = np.random.default_rng(3)
    weights = {"w": rng.normal(0, 0.3, (6, 3, 3, 3)), "c": rng.normal(0, 1, (2, 6))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["map"]),
        helper.make_node("Relu", ["map"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "c"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "plain.onnx"
    onnx.save(model, path)
    return path


def test_a_plain_onnx_file_becomes_a_backbone_with_its_report(plain: Path, photos: Path, tmp_path: Path) -> None:
    made = export(f"onnx:{plain}", tmp_path / "out" / "net.onnx", PIXELS)
    assert read_backbone(made.file.path).fingerprint == made.file.fingerprint
    report = json.loads(made.report_path.read_text())
    assert made.report_path == tmp_path / "out" / "net.report.json"
    assert (report["dim"], report["height"], report["nodes"]["Conv"]) == (6, 32, 1)
    assert report["parameters"] == 6 * 27  # the classifier was cut off
    assert report["multiply_adds"] == 6 * 27 * 30 * 30
    assert extract(photos, tmp_path / "s", backbone=made.file.path).extracted == 20
    assert FeatureStore.open(tmp_path / "s").provenance.dim == 6
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["net.onnx", "net.report.json"]


def test_an_export_is_taken_from_the_cache_the_second_time(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_backbone(f"onnx:{plain}", PIXELS)
    monkeypatch.setattr("fxengine.backbones.onnx_source.export", None)  # a second export would now fail
    assert load_backbone(f"onnx:{plain}", PIXELS) == first
    assert find_space(first.fingerprint, source_name(f"onnx:{plain}")) == first


def test_the_source_of_a_gone_export_is_named(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_backbone(f"onnx:{plain}", PIXELS)
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"neither in the cache nor made by a fresh export. Give its file"):
        find_space(found.fingerprint, f"onnx:{plain}")


def test_names_of_sources_are_absolute(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert source_name("onnx:plain.onnx@relu") == f"onnx:{plain}@relu"
    assert source_name("keras:ResNet50") == "keras:ResNet50"
    assert source_name("efficientnet_lite0") == "efficientnet_lite0"
    assert source_name("plain.onnx") == str(plain)


def test_layers_lists_what_can_become_features(plain: Path, tiny: BackboneFile) -> None:
    rows = {row["tensor"]: row for row in layers(f"onnx:{plain}")}
    assert rows["relu"]["op"] == "Relu"
    assert [name for name, row in rows.items() if row["default"]] in (["flat"], ["pooled"])
    assert {row["tensor"] for row in layers(str(tiny.path)) if row["default"]} == {"features"}
    assert describe(tiny.path)["dim"] == 8


def test_bad_wishes_leave_nothing_behind(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in .onnx"):
        export(f"onnx:{plain}", tmp_path / "net.txt", PIXELS)
    with pytest.raises(InputError, match="How the net wants its pixels is not stated"):
        export(f"onnx:{plain}", tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"There is no ONNX file nowhere\.onnx"):
        export("onnx:nowhere.onnx", tmp_path / "net.onnx", PIXELS)
    assert list(tmp_path.glob("*net.*")) == []


@pytest.mark.slow
def test_export_and_info_from_the_command_line(plain: Path, tmp_path: Path) -> None:
    flags = ["--size", 32, "--channels", "rgb", "--scale", 1, "--mean", 120, 120, 120, "--std", 60, 60, 60]
    done = run_cli("export", f"onnx:{plain}", "-o", tmp_path / "net.onnx", *flags)
    assert done.returncode == 0, done.stderr
    assert "features 6" in done.stdout
    found = json.loads(run_cli("info", f"onnx:{plain}", "--layers", "--json").stdout)
    assert "relu" in [row["tensor"] for row in found]
    assert "relu" in run_cli("info", f"onnx:{plain}", "--layers").stdout
