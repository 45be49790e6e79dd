from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fxengine.backbones import keras_process, keras_source, load_backbone
from fxengine.backbones.keras_applications import APPLICATIONS, MODES
from fxengine.backbones.keras_source import Order, assemble, order
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import differences, measure
from fxengine.backbones.spec import METADATA_KEY, Facts
from fxengine.errors import InputError
from tests.conftest import ROOT, tiny_model

VERSIONS = {"tensorflow": "2.21.0", "keras": "3.15.1", "tf2onnx": "1.17.0"}
needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None and not os.environ.get("FXENGINE_KERAS_PYTHON"),
    reason="TensorFlow is not installed and FXENGINE_KERAS_PYTHON is not set",
)
# One small net of each family; a mode of preprocess_input each at least once.
FAMILIES = {
    "ConvNeXtTiny": 64,
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "InceptionV3": 107,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "NASNetMobile": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "VGG16": 64,
    "Xception": 71,
}


# --- without TensorFlow ---


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that Keras is installed."""
    monkeypatch.setattr(keras_process, "versions", lambda: VERSIONS)


def test_all_forty_applications_are_known() -> None:
    assert len(APPLICATIONS) == 40
    assert {known.mode for known in APPLICATIONS.values()} == set(MODES)


@pytest.mark.parametrize(("wrong", "near"), [("ResNet51", "ResNet50"), ("mobilenetv2", "MobileNetV2")])
def test_an_unknown_name_lists_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(InputError, match=near):
        load_backbone(f"keras:{wrong}")


def test_a_missing_tensorflow_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FXENGINE_KERAS_PYTHON", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fxengine\[keras\]'"):
        load_backbone("keras:ResNet50")


def test_an_old_keras_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_process, "python", lambda: "somewhere")
    monkeypatch.setattr(keras_process, "_versions", lambda python: {**VERSIONS, "keras": "3.9.2"})
    with pytest.raises(InputError, match=r"3\.9\.2 is installed"):
        keras_process.versions()


def test_another_interpreter_must_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FXENGINE_KERAS_PYTHON", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no interpreter"):
        keras_process.versions()


@pytest.mark.usefixtures("installed")
def test_the_identity_holds_versions_and_content(tmp_path: Path) -> None:
    weights = tmp_path / "mine.weights.h5"
    weights.write_bytes(b"one")
    options = ExportOptions(weights=str(weights))
    first = keras_source.identity("ResNet50", options)
    assert "3.15.1" in first
    weights.write_bytes(b"two")
    assert keras_source.identity("ResNet50", options) != first
    assert keras_source.identity("ResNet50", ExportOptions()) != first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ExportOptions(size=(224, 16)), "its width is 16"),
        (ExportOptions(size=(8, 224)), "its height is 8"),
        (ExportOptions(weights="nowhere.h5"), "imagenet, random, or a file"),
    ],
)
def test_what_cannot_be_is_said_before_keras_starts(options: ExportOptions, words: str) -> None:
    with pytest.raises(InputError, match=words):
        order("ResNet50", options)


def test_own_files_are_taken_by_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only as weights of a named net"):
        order(str(tmp_path / "net.h5"), ExportOptions())
    with pytest.raises(InputError, match="no Keras model"):
        order(str(tmp_path / "net.keras"), ExportOptions())
    with pytest.raises(InputError, match=r"no saved_model\.pb"):
        order(str(tmp_path), ExportOptions())
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="--trust"):
        order(str(tmp_path), ExportOptions())
    with pytest.raises(InputError, match="not stated"):
        order(str(tmp_path), ExportOptions(trust=True, size=(32, 32)))


def test_the_recipe_is_kerass_own() -> None:
    recipe = order("Xception", ExportOptions()).preparation.recipe
    assert (recipe.height, recipe.edge, recipe.kernel, recipe.antialias) == (299, "both", "bilinear", False)


def test_importing_the_source_loads_no_keras() -> None:
    code = "import sys, fxengine.backbones.keras_source; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"tensorflow", "keras", "tf2onnx", "torch", "sklearn", "onnxruntime"}


@pytest.mark.usefixtures("installed")
def test_a_failing_child_shows_its_log_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit('the op FancyOp is not supported')")
    monkeypatch.setattr(keras_process, "CHILD", child)
    monkeypatch.setattr(keras_process, "python", lambda: sys.executable)
    with pytest.raises(InputError, match="FancyOp") as caught:
        load_backbone("keras:MobileNet", ExportOptions(weights="random"))
    assert "exit status 1" in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["logs"]


@pytest.mark.usefixtures("installed")
def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(keras_process, "CHILD", child)
    monkeypatch.setattr(keras_process, "python", lambda: sys.executable)
    monkeypatch.setattr(keras_process, "SECONDS_A_NET", 1)
    with pytest.raises(InputError, match="time limit of 1 s"):
        load_backbone("keras:MobileNet", ExportOptions(weights="random"))


def test_the_report_counts_weights_and_multiply_adds() -> None:
    report = measure(tiny_model())
    assert (report.height, report.width, report.dim, report.opset) == (32, 32, 8, 17)
    assert report.parameters == 8 * 3 * 9 + 3 * 8
    assert report.multiply_adds == 32 * 32 * 8 * 3 * 9 + 3 * 8
    assert report.nodes["Conv"] == 1
    assert "1 Conv" in report.to_text()


# --- with TensorFlow ---


class Exported:
    """What one child process made of all families."""

    def __init__(self, folder: Path) -> None:
        self.orders: dict[str, Order] = {}
        self.folders: dict[str, Path] = {}
        for name, size in FAMILIES.items():
            self.orders[name] = order(name, ExportOptions(weights="random", size=(size, size)))
            self.folders[name] = folder / name
        jobs = [{**self.orders[name].job, "folder": str(self.folders[name])} for name in FAMILIES]
        keras_process.run(jobs, folder)

    def reference(self, name: str) -> np.ndarray:
        with np.load(self.folders[name] / "reference.npz") as arrays:
            return np.asarray(arrays["features"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("keras"))


def facts_of(model: onnx.ModelProto) -> Facts:
    return Facts.from_json({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_kerass_own(exported: Exported, name: str) -> None:
    facts = facts_of(assemble(exported.orders[name], exported.folders[name]))
    found = facts.notes["export"]["differences"]
    assert found["relative"] <= 1e-4
    assert found["preprocessing_levels"] <= 1e-3
    features = exported.reference(name)
    assert np.isfinite(features).all()
    # Photos must differ, else the comparison says nothing.
    spread = np.linalg.norm(features - features.mean(0), axis=1).mean() / np.linalg.norm(features, axis=1).mean()
    assert spread > 1e-3
    assert features.shape[1] == facts.dim
    assert facts.parameters > 0 < facts.multiply_adds


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", ["VGG16", "MobileNet", "DenseNet121", "EfficientNetB0"])
def test_a_wrong_mode_fails(exported: Exported, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = exported.orders[name]
    for mode, pixels in MODES.items():
        if mode == APPLICATIONS[name].mode:
            continue
        wrong = replace(right, preparation=replace(right.preparation, **vars(pixels)))
        with pytest.raises(InputError, match="does not compute what Keras does"):
            assemble(wrong, exported.folders[name])
        # The features alone show it too, not only the pixels.
        model = keras_source._attach(
            wrong.preparation,
            onnx.load(exported.folders[name] / "net.onnx"),
            {"features": exported.reference(name)},
        )
        with np.load(exported.folders[name] / "reference.npz") as arrays:
            ours = keras_process.answers(model, arrays["photos"])["features"]
        assert differences(ours, exported.reference(name))["relative"] > 1e-2


@needs_keras
@pytest.mark.slow
def test_a_second_export_starts_no_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Layers, logits and max pooling in one net; then the cache answers."""
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path))
    options = ExportOptions(
        weights="random", size=(32, 48), logits=True, pooling="max", layers=("conv_pw_3_relu", "conv_pw_13_relu")
    )
    first = load_backbone("keras:MobileNet", options)
    assert first.facts.layers == (("conv_pw_3_relu", 128),)
    assert (first.facts.dim, first.facts.cut) == (1024, "conv_pw_3_relu,conv_pw_13_relu")
    session_outputs = [output.name for output in onnx.load(first.path).graph.output]
    assert session_outputs == ["features", "features@conv_pw_3_relu", "logits"]

    def no_child(*arguments: Any) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(keras_process, "run", no_child)
    assert load_backbone("keras:MobileNet", options).fingerprint == first.fingerprint
    assert not {"tensorflow", "keras"} & set(sys.modules)


@needs_keras
@pytest.mark.slow
def test_own_models_and_what_they_are_refused_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = f"""
import keras
keras.utils.set_random_seed(1)
net = keras.Sequential([keras.Input((24, 32, 3)), keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
    keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, activation="softmax")])
net.save({str(tmp_path / "own.keras")!r})
net.export({str(tmp_path / "saved")!r}, verbose=False)
x = keras.Input((None, None, 3))
norm = keras.layers.Normalization()
norm.adapt(keras.random.uniform((4, 8, 8, 3)))
y = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 3, name="open")(norm(x)))
open_net = keras.Model(x, y)
open_net.save({str(tmp_path / "open.keras")!r})
import numpy as np
ones = np.ones((1, 20, 28, 3), np.float32) * np.float32([10, 100, 200])
np.save({str(tmp_path / "open.npy")!r}, np.asarray(open_net(ones)))
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    subprocess.run([keras_process.python(), "-c", code], check=True, capture_output=True, env=environment)
    stated = ExportOptions(scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.3), channels="bgr")
    program = replace(stated, trust=True, size=(24, 32))
    own, saved, free = keras_source.export_many(
        [
            (str(tmp_path / "own.keras"), replace(stated, logits=True)),
            (str(tmp_path / "saved"), program),
            (str(tmp_path / "open.keras"), ExportOptions(scale=1.0, size=(20, 28))),
        ]
    )
    picture = np.full((1, 20, 28, 3), (10, 100, 200), np.uint8)
    found = keras_process.answers(free, picture)["features"]
    assert differences(found, np.load(tmp_path / "open.npy"))["relative"] < 1e-5
    assert facts_of(own).dim == 8
    assert [output.name for output in own.graph.output] == ["features", "logits"]
    assert facts_of(saved).dim == 5
    with pytest.raises(InputError, match=r"no layer 'cov'; the nearest are conv"):
        keras_source.export(str(tmp_path / "own.keras"), replace(stated, layers=("cov",)))
    with pytest.raises(InputError, match="height 24"):
        order(str(tmp_path / "own.keras"), replace(stated, size=(25, 32)))


@needs_keras
@pytest.mark.slow
def test_weights_that_do_not_fit_say_so(tmp_path: Path) -> None:
    weights = tmp_path / "bad.weights.h5"
    weights.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="could not be exported") as caught:
        keras_source.export("MobileNet", ExportOptions(weights=str(weights), size=(32, 32)))
    assert "log" in str(caught.value)


def test_the_child_needs_no_fxengine() -> None:
    text = Path(keras_process.CHILD).read_text()
    assert "import fxengine" not in text
    assert "from fxengine" not in text
    assert json.dumps(MODES["none"].bgr) == "false"
