from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine import InputError, StoreError, extract
from fxengine.backbones import find_space, load_backbone, source_name
from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.export import _removed, export
from fxengine.backbones.graph.model import make_model, metadata_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import measure
from fxengine.backbones.spec import METADATA_KEY, BackboneFile, Facts
from fxengine.features.read import FeatureStore
from fxengine.trust import note_named
from fxengine.ui.info import info
from tests.conftest import run_cli, tiny_model

WISHES: dict[str, Any] = {"size": 32, "channels": "rgb", "scale": 1.0, "mean": (120.0,) * 3, "std": (60.0,) * 3}
PIXELS = ExportOptions(size=(32, 32), channels="rgb", scale=1.0, mean=(120.0,) * 3, std=(60.0,) * 3)
LARGER = {**WISHES, "size": (64, 64)}


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
    model = make_model(graph)
    path = tmp_path / "plain.onnx"
    onnx.save(model, path)
    return path


def test_a_plain_onnx_file_becomes_a_backbone_with_its_report(plain: Path, photos: Path, tmp_path: Path) -> None:
    made = export(f"onnx:{plain}", tmp_path / "out" / "net.onnx", **WISHES)
    assert read_backbone(made.file.path).fingerprint == made.file.fingerprint
    report = json.loads(made.report_path.read_text())
    assert made.report_path == tmp_path / "out" / "net.report.json"
    assert (report["dim"], report["height"], report["nodes"]["Conv"]) == (6, 32, 1)
    assert report["parameters"] == 6 * 27  # the classifier was cut off
    assert report["multiply_adds"] == 6 * 27 * 30 * 30
    assert extract(photos, tmp_path / "s", backbone=made.file.path).extracted == 20
    assert FeatureStore.open(tmp_path / "s").provenance.dim == 6
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["net.onnx", "net.report.json"]


def with_report(report: object, path: Path) -> Path:
    """Write the tiny net with something in the place of its report."""
    model = tiny_model()
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    helper.set_model_props(model, {METADATA_KEY: replace(facts, notes={"export": report}).to_json()})
    write_backbone(model, path)
    return path


def test_a_report_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    said = replace(measure(tiny_model()), differences={"relative": 1e-5}, failed=("one way",))
    path = with_report({**said.to_dict(), "later": 1}, tmp_path / "later.onnx")
    assert export(path, tmp_path / "out.onnx").report == said


@pytest.mark.parametrize("report", [{}, 7, None, {"nodes": 7}], ids=str)
def test_in_the_place_of_a_damaged_report_the_file_is_measured(report: object, tmp_path: Path) -> None:
    path = with_report(report, tmp_path / "damaged.onnx")
    assert export(path, tmp_path / "out.onnx").report == measure(onnx.load(path))


def test_an_export_is_taken_from_the_cache_the_second_time(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_backbone(f"onnx:{plain}", PIXELS)
    monkeypatch.setattr("fxengine.backbones.sources.from_onnx.export", None)  # a second export would now fail
    assert load_backbone(f"onnx:{plain}", PIXELS) == first
    assert find_space(first.fingerprint, source_name(f"onnx:{plain}")) == first


def test_what_is_removed_is_told_with_the_tensor_that_keeps_it(
    plain: Path, tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    made = export(f"onnx:{plain}", tmp_path / "net.onnx", **WISHES)
    report = json.loads(made.report_path.read_text())
    assert (report["removed"], report["whole"], report["whole_dim"]) == (["Gemm scores"], f"onnx:{plain}@scores", 2)
    kept = export(report["whole"], tmp_path / "whole.onnx", **WISHES)
    assert (kept.file.facts.dim, kept.removed, kept.whole) == (2, (), None)
    net = shared_data("reports") / "mobilenetv1_headless.onnx"
    made = export(f"onnx:{net}", tmp_path / "net.onnx", **LARGER)
    assert (made.file.facts.dim, made.whole, made.whole_dim) == (64, f"onnx:{net}@60", 128)
    assert made.removed[0] == "Conv /4/4.3/Conv"
    assert export(f"onnx:{net}@60", tmp_path / "all.onnx", **LARGER).file.facts.dim == 128


def test_a_store_of_a_former_default_cut_finds_its_backbone(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs named as embeddings are kept whole now; earlier versions cut their last layer."""
    model = onnx.load(plain)
    model.graph.node[-1].output[0] = model.graph.output[0].name = "embedding"
    path = tmp_path / "embedding.onnx"
    onnx.save(model, path)
    former = load_backbone(f"onnx:{path}@flat", PIXELS)
    assert load_backbone(f"onnx:{path}", PIXELS).fingerprint != former.fingerprint
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "empty"))
    note_named("backbone", f"onnx:{path}")
    with pytest.raises(InputError, match=rf"It may be what onnx:{path}@flat gives"):
        find_space(former.fingerprint, f"onnx:{path}")  # its preprocessing came by flags
    stated = {"size": 32, "channels": "rgb", "scale": 1.0, "mean": [120] * 3, "std": [60] * 3}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    assert find_space(former.fingerprint, f"onnx:{path}").facts.cut == "flat"


def test_the_source_of_a_gone_export_is_named(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_backbone(f"onnx:{plain}", PIXELS)
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "empty"))
    note_named("backbone", f"onnx:{plain}")
    with pytest.raises(InputError, match=r"neither in the cache nor made by a fresh export. Give its file"):
        find_space(found.fingerprint, f"onnx:{plain}")


def test_a_file_that_gives_other_features_now_is_said(photos: Path, tmp_path: Path) -> None:
    path, store = tmp_path / "net.onnx", tmp_path / "s"
    spaces = []
    for scale in (1.0, 2.0):
        write_backbone(tiny_model(scale=scale), path)
        spaces.append(load_backbone(path).fingerprint[:12])
        if scale == 1:
            extract(photos, store, backbone=path)
    with pytest.raises(StoreError) as raised:
        extract(photos, store, backbone=path)
    assert str(raised.value) == (
        f"{store} holds features of another space: '{path}' gave {spaces[0]} when they were made and gives {spaces[1]} "
        "now. Give it as it was then, or another folder as `output`."
    )


def test_names_of_sources_are_absolute(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert source_name("onnx:plain.onnx@relu") == f"onnx:{plain}@relu"
    assert source_name("keras:ResNet50") == "keras:ResNet50"
    assert source_name("efficientnet_lite0") == "efficientnet_lite0"
    assert source_name("plain.onnx") == str(plain)


def test_layers_lists_what_can_become_features(plain: Path, tiny: BackboneFile) -> None:
    rows = {row["tensor"]: row for row in info(f"onnx:{plain}", layers=True).facts["layers"]}
    assert rows["relu"]["op"] == "Relu"
    assert [name for name, row in rows.items() if row["default"]] in (["flat"], ["pooled"])
    assert {row["tensor"] for row in info(tiny.path, layers=True).facts["layers"] if row["default"]} == {"features"}
    assert info(tiny.path).facts["dim"] == 8


def test_bad_wishes_leave_nothing_behind(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in .onnx"):
        export(f"onnx:{plain}", tmp_path / "net.txt", **WISHES)
    with pytest.raises(InputError, match="How the net wants its pixels is not stated"):
        export(f"onnx:{plain}", tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"There is no ONNX file nowhere\.onnx"):
        export("onnx:nowhere.onnx", tmp_path / "net.onnx", **WISHES)
    assert list(tmp_path.glob("*net.*")) == []


@pytest.mark.slow
def test_export_and_info_from_the_command_line(plain: Path, tmp_path: Path) -> None:
    flags = ["--size", 32, "--channels", "rgb", "--scale", 1, "--mean", 120, 120, 120, "--std", 60, 60, 60]
    done = run_cli("export", f"onnx:{plain}", "-o", tmp_path / "net.onnx", *flags)
    assert done.returncode == 0, done.stderr
    assert "features 6" in done.stdout
    assert "removed: Gemm scores" in done.stdout
    assert f"onnx:{plain}@scores keeps all of it, 2 numbers" in done.stdout
    found = json.loads(run_cli("info", f"onnx:{plain}", "--layers", "--json").stdout)
    assert "relu" in [row["tensor"] for row in found]
    assert "relu" in run_cli("info", f"onnx:{plain}", "--layers").stdout


@pytest.mark.parametrize(
    ("options", "unread"),
    [
        ({"mean": (1, 2, 3)}, "`mean`"),
        ({"size": 64, "weights": "random"}, "`size`, `weights`"),
        ({"pooling": "max"}, "`pooling`"),
    ],
)
def test_what_a_finished_backbone_does_not_read_is_refused(
    options: dict[str, Any], unread: str, tmp_path: Path, tiny: BackboneFile
) -> None:
    with pytest.raises(InputError, match=rf"is a finished backbone: leave {unread} away\."):
        export(tiny.path, tmp_path / "net.onnx", **options)
    assert export(tiny.path, tmp_path / "net.onnx", logits=True, trust=True).file.facts == tiny.facts


def test_weights_of_an_onnx_file_are_its_own(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds its own weights: leave out `weights` random\."):
        export(f"onnx:{plain}", tmp_path / "net.onnx", weights="random", **WISHES)


def test_the_layer_that_a_keras_cut_removed_is_said_by_itself() -> None:
    notes = {"removed": ["GlobalAveragePooling2D avg_pool", "Dense predictions"]}
    removed, whole, dim, layers = _removed("keras:ResNet50", notes)
    assert (removed, whole, dim, layers) == (tuple(notes["removed"]), "keras:ResNet50", None, "predictions")
