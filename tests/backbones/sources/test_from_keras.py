from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bench.export import by_area, multiply_adds
from fxengine.backbones import load_backbone
from fxengine.backbones.children import framework, keras_env
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.run import run_model
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import differences, measure
from fxengine.backbones.sources import from_keras
from fxengine.backbones.sources.compared import HALF, attach
from fxengine.backbones.sources.from_keras import assemble, order
from fxengine.backbones.sources.keras_applications import APPLICATIONS, MODES
from fxengine.backbones.sources.saved_model import input_size
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
    monkeypatch.setattr(keras_env, "versions", lambda: VERSIONS)


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
    monkeypatch.setattr(keras_env, "python", lambda: "somewhere")
    monkeypatch.setattr(framework, "versions", lambda which, python: {**VERSIONS, "keras": "3.9.2"})
    with pytest.raises(InputError, match=r"3\.9\.2 is installed"):
        keras_env.versions()


def test_another_interpreter_must_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FXENGINE_KERAS_PYTHON", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no interpreter"):
        keras_env.versions()


@pytest.mark.usefixtures("installed")
def test_the_identity_holds_versions_and_content(tmp_path: Path) -> None:
    weights = tmp_path / "mine.weights.h5"
    weights.write_bytes(b"one")
    options = ExportOptions(weights=str(weights))
    first = from_keras.identity("ResNet50", options)
    assert "3.15.1" in first
    weights.write_bytes(b"two")
    assert from_keras.identity("ResNet50", options) != first
    assert from_keras.identity("ResNet50", ExportOptions()) != first


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
    with pytest.raises(InputError, match="`trust`"):
        order(str(tmp_path), ExportOptions())
    with pytest.raises(InputError, match="not stated"):
        order(str(tmp_path), ExportOptions(trust=True, size=(32, 32)))


def test_the_recipe_is_kerass_own() -> None:
    recipe = order("Xception", ExportOptions()).preparation.recipe
    assert (recipe.height, recipe.edge, recipe.kernel, recipe.antialias) == (299, "both", "bilinear", False)


def test_importing_the_source_loads_no_keras() -> None:
    code = "import sys, fxengine.backbones.sources.from_keras; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"tensorflow", "keras", "tf2onnx", "torch", "sklearn", "onnxruntime"}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit('the op FancyOp is not supported')", ("FancyOp", "exit status 1")),
        ("import os; os.kill(os.getpid(), 9)", ("was killed", "ran out of memory")),
    ],
)
def test_a_failing_child_shows_why_and_leaves_nothing(
    program: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(keras_env, "CHILD", child)
    monkeypatch.setattr(keras_env, "python", lambda: sys.executable)
    with pytest.raises(InputError) as caught:
        load_backbone("keras:MobileNet", ExportOptions(weights="random"))
    assert [word for word in words if word not in str(caught.value)] == []
    assert {path.parent.name for path in (tmp_path / "cache").rglob("*") if path.is_file()} == {"logs"}


@pytest.mark.usefixtures("installed")
def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(keras_env, "CHILD", child)
    monkeypatch.setattr(keras_env, "python", lambda: sys.executable)
    monkeypatch.setattr(keras_env, "SECONDS_A_NET", 1)
    with pytest.raises(InputError, match="time limit of 1 s"):
        load_backbone("keras:MobileNet", ExportOptions(weights="random"))


def test_the_report_counts_weights_and_multiply_adds() -> None:
    report = measure(tiny_model())
    assert (report.height, report.width, report.dim, report.opset) == (32, 32, 8, 17)
    assert report.parameters == 8 * 3 * 9 + 3 * 8
    assert report.multiply_adds == 32 * 32 * 8 * 3 * 9 + 3 * 8
    assert report.nodes["Conv"] == 1
    assert "1 Conv" in report.to_text()


# --- with TensorFlow: one process makes files, a second one does every job ---

STATED = ExportOptions(scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.3), channels="bgr")
PICTURE = (10, 100, 200)
FILES = """
import os, sys, shutil, pathlib
import keras, numpy as np, tensorflow as tf
here = pathlib.Path(sys.argv[1])
keras.utils.set_random_seed(1)
picture = np.float32([[[[10, 100, 200]]]])

own = keras.Sequential([keras.Input((24, 32, 3)), keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
    keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, activation="softmax")])
own.save(here / "own.keras")
own.export(here / "saved", verbose=False)
(here / "labels.txt").write_text("ant\\nbee\\ncow\\ndog\\nelk\\n")

class Hub(tf.Module):  # as TensorFlow Hub's classifiers are: any size, a 1x1 convolution, no softmax
    def __init__(self):
        rng = np.random.default_rng(5)
        self.filters = tf.Variable(rng.normal(0, 1, (3, 3, 3, 6)).astype(np.float32))
        self.top = tf.Variable(rng.normal(0, 1, (1, 1, 6, 4)).astype(np.float32))
    def features(self, x):
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, self.filters, 2, "SAME")), (1, 2), keepdims=True)
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="inputs")])
    def serve(self, inputs):
        return {"logits": tf.squeeze(tf.nn.conv2d(self.features(inputs), self.top, 1, "VALID"), (1, 2))}
    @tf.function(input_signature=[tf.TensorSpec((None, 20, 28, 3), tf.float32, name="inputs")])
    def fixed(self, inputs):
        return self.serve(inputs)
hub = Hub()
tf.saved_model.save(hub, here / "predict", signatures={"predict": hub.fixed})
tf.saved_model.save(hub, here / "hub", signatures=hub.serve)
(here / "hub" / "assets").mkdir(exist_ok=True)
(here / "hub" / "assets" / "labels.txt").write_text("cat\\ndog\\nowl\\nelk\\n")
pictures = np.random.default_rng(1).integers(0, 256, (3, 20, 28, 3)).astype(np.uint8)
features = tf.squeeze(hub.features(pictures / np.float32(255)), (1, 2))
np.savez(here / "hub.npz", pictures=pictures, features=features, **hub.serve(pictures / np.float32(255)))

x = keras.Input((None, None, 3))
norm = keras.layers.Normalization()
norm.adapt(keras.random.uniform((4, 8, 8, 3)))
free = keras.Model(x, keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 3, name="open")(norm(x))))
free.save(here / "open.keras")
np.save(here / "open.npy", np.asarray(free(np.tile(picture, (1, 20, 28, 1)))))

make = keras.applications.MobileNet
net = make(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
whole = make(weights=None, input_shape=(32, 32, 3))
for a, b in zip(whole.layers, net.layers): a.set_weights(b.get_weights())
np.save(here / "mobilenet.npy", np.asarray(net(np.tile(picture / 127.5 - 1, (1, 32, 32, 1)))))
(here / "home" / "models").mkdir(parents=True)
net.save(here / "home" / "models" / "mobilenet_1_0_224_tf_no_top.h5")
net.save_weights(here / "headless.weights.h5")
whole.save_weights(here / "whole.weights.h5")
whole.save(here / "whole.h5")
own.save_weights(here / "of_another.weights.h5")

def tokens(name, batch=None, constant=False, kernel="glorot_uniform"):
    x = keras.Input((24, 24, 3), batch_size=batch)
    y = keras.layers.Conv2D(16, 8, strides=8, kernel_initializer=kernel)(x)
    y = keras.ops.reshape(y, (batch, 9, 16)) if constant else keras.layers.Reshape((9, 16))(y)
    y = keras.layers.LayerNormalization()(y)
    y = y + keras.layers.MultiHeadAttention(2, 8)(y, y)
    y = keras.layers.GlobalAveragePooling1D()(y)
    whole = keras.Model(x, keras.layers.Dense(5, activation="softmax", name="top")(y))
    whole.save(here / f"{name}.keras")
    pictures = np.random.default_rng(1).integers(0, 256, (4, 24, 24, 3)).astype(np.uint8)
    rows = np.split(pictures / np.float32(255), len(pictures) // (batch or 1))
    features = keras.Model(x, y)
    found = np.concatenate([np.asarray(keras.ops.cast(features(row), "float32")) for row in rows])
    np.savez(here / f"{name}.npz", pictures=pictures, features=found)

for policy in ("mixed_float16", "mixed_bfloat16", "float16", "float64"):
    keras.config.set_dtype_policy(policy)
    tokens(policy)
keras.config.set_dtype_policy("float32")
tokens("batch1", 1)
tokens("batch2", 2)
tokens("reshape1", 1, True)
tokens("reshape2", 2, True)
tokens("constant", kernel="zeros")
(here / "broken.h5").write_bytes(b"no HDF5")
code = keras.layers.Lambda(lambda pictures: pictures * 2.0)
keras.Sequential([keras.Input((24, 32, 3)), code, keras.layers.GlobalAveragePooling2D()]).save(here / "lambda.keras")
x = keras.Input((24, 32, 3))
y = keras.layers.Conv2D(4, 3)(x)
keras.Model(x, [y, keras.layers.GlobalAveragePooling2D()(y)]).save(here / "two.keras")
"""
# How far Keras's own features in that policy are from the export's, in parts of their length.
POLICIES = {"mixed_float16": 2e-3, "mixed_bfloat16": 2e-2, "float16": 5e-3, "float64": 1e-5}
BATCHES = ["batch1", "batch2", "reshape1", "reshape2"]
# Jobs by file: name -> (what, options), WHERE is the folder of the files.
SMALL = ExportOptions(size=(32, 32))
FILE_JOBS = {
    "own": ("WHERE/own.keras", replace(STATED, logits=True)),
    "saved": ("WHERE/saved", replace(STATED, trust=True, size=(24, 32))),
    "classifier": ("WHERE/saved", replace(STATED, trust=True, logits=True, labels=Path("WHERE/labels.txt"))),
    "hub": ("WHERE/hub", ExportOptions(scale=1 / 255, trust=True, logits=True, size=(20, 28))),
    "predict": ("WHERE/predict", ExportOptions(scale=1 / 255, trust=True)),
    "open": ("WHERE/open.keras", ExportOptions(scale=1.0, size=(20, 28))),
    **{name: (f"WHERE/{name}.keras", ExportOptions(scale=1 / 255)) for name in (*POLICIES, *BATCHES, "constant")},
    "layers": (
        "MobileNet",
        ExportOptions(
            weights="random", size=(32, 48), logits=True, pooling="max", layers=("conv_pw_3_relu", "conv_pw_13_relu")
        ),
    ),
    "imagenet": ("MobileNet", SMALL),
    "headless.weights.h5": ("MobileNet", replace(SMALL, weights="WHERE/headless.weights.h5")),
    "whole.weights.h5": ("MobileNet", replace(SMALL, weights="WHERE/whole.weights.h5")),
    "whole.h5": ("MobileNet", replace(SMALL, weights="WHERE/whole.h5")),
}
REFUSED = {
    "no layer": ("WHERE/own.keras", replace(STATED, layers=("cov",)), "no layer 'cov'; the nearest are conv"),
    "lambda": ("WHERE/lambda.keras", replace(STATED, trust=True), "it holds a Lambda layer, and code in"),
    "two outputs": ("WHERE/two.keras", STATED, "it has 2 outputs, and none of them is a classifier's"),
    "no network": ("MobileNetV2", ExportOptions(), "could not be downloaded"),
    "broken": ("MobileNet", replace(SMALL, weights="WHERE/broken.h5"), "do not fit it"),
    "of another": ("MobileNet", replace(SMALL, weights="WHERE/of_another.weights.h5"), "do not fit it"),
}


class Exported:
    """What one child process made of all families and files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, folder / "files"
        self.files.mkdir()
        command = [keras_env.python(), "-c", FILES, str(self.files)]
        variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
        subprocess.run(command, check=True, capture_output=True, env=variables)
        random = {name: (name, ExportOptions(weights="random", size=(size, size))) for name, size in FAMILIES.items()}
        refused = {name: (what, options) for name, (what, options, _) in REFUSED.items()}
        self.wanted = {name: self.here(*job) for name, job in {**random, **FILE_JOBS, **refused}.items()}
        self.orders = {name: order(*job) for name, job in self.wanted.items()}
        jobs = [{**an_order.job, "folder": str(folder / name)} for name, an_order in self.orders.items()]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_HOME", str(self.files / "home"))
            patch.setenv("https_proxy", "http://127.0.0.1:9")  # no such proxy: nothing may be downloaded
            with pytest.raises(InputError, match="no layer 'cov'"):
                keras_env.run(jobs, folder)

    def here(self, what: str, options: ExportOptions) -> tuple[str, ExportOptions]:
        where = str(self.files)
        labels = options.labels and Path(str(options.labels).replace("WHERE", where))
        weights = options.weights.replace("WHERE", where)
        return what.replace("WHERE", where), replace(options, weights=weights, labels=labels)

    def reference(self, name: str) -> np.ndarray:
        with np.load(self.folder / name / "reference.npz") as arrays:
            return np.asarray(arrays["features"])

    def model(self, name: str) -> onnx.ModelProto:
        return assemble(self.orders[name], self.folder / name)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("keras"))


def facts_of(model: onnx.ModelProto) -> Facts:
    return Facts.from_json(metadata_of(model)[METADATA_KEY])


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_kerass_own(exported: Exported, name: str) -> None:
    model, known = exported.model(name), APPLICATIONS[name]
    facts = facts_of(model)
    found = facts.notes["export"]["differences"]
    assert found["relative"] <= 1e-4
    assert found["preprocessing_levels"] <= 1e-3
    features = exported.reference(name)
    assert np.isfinite(features).all()
    # Photos must differ, else the comparison says nothing.
    spread = np.linalg.norm(features - features.mean(0), axis=1).mean() / np.linalg.norm(features, axis=1).mean()
    assert spread > 1e-3
    # What `fxengine backbones` says without an export.
    assert (features.shape[1], facts.dim) == (known.dim, known.dim)
    assert facts.parameters == (known.parameters or facts.parameters)
    if known.multiply_adds is not None and FAMILIES[name] % 32 == known.size % 32:
        by_graph = multiply_adds(model, known.size)
        assert (by_graph or by_area(facts.multiply_adds, FAMILIES[name], known.size)) == known.multiply_adds


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", ["VGG16", "MobileNet", "DenseNet121", "EfficientNetB0"])
def test_a_wrong_mode_fails(exported: Exported, name: str) -> None:
    right = exported.orders[name]
    for mode, pixels in MODES.items():
        if mode == APPLICATIONS[name].mode:
            continue
        wrong = replace(right, preparation=replace(right.preparation, **vars(pixels)))
        with pytest.raises(InputError, match="does not compute what Keras does"):
            assemble(wrong, exported.folder / name)
        # The features alone show it too, not only the pixels.
        model = attach(
            wrong.preparation,
            onnx.load(exported.folder / name / "net.onnx"),
            {"features": exported.reference(name)},
            keras_env.KERAS,
        )
        with np.load(exported.folder / name / "reference.npz") as arrays:
            ours = run_model(model, arrays["photos"])["features"]
        assert differences(ours, exported.reference(name))["relative"] > 1e-2


@needs_keras
@pytest.mark.slow
def test_a_second_export_starts_no_child(exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Layers, logits and max pooling in one net; then the cache answers."""
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path))
    runs = []

    def take_over(jobs: list[dict[str, Any]], folder: Path) -> None:
        runs.append(jobs)
        shutil.copytree(exported.folder / "layers", jobs[0]["folder"])

    monkeypatch.setattr(keras_env, "run", take_over)
    what, options = exported.wanted["layers"]
    first = load_backbone(f"keras:{what}", options)
    assert first.facts.layers == (("conv_pw_3_relu", 128),)
    assert (first.facts.dim, first.facts.cut) == (1024, "conv_pw_3_relu,conv_pw_13_relu")
    session_outputs = [output.name for output in onnx.load(first.path).graph.output]
    assert session_outputs == ["features", "features@conv_pw_3_relu", "logits"]
    assert load_backbone(f"keras:{what}", options).fingerprint == first.fingerprint
    assert len(runs) == 1
    assert not {"tensorflow", "keras"} & set(sys.modules)


@needs_keras
@pytest.mark.slow
def test_own_models_keep_what_they_say(exported: Exported) -> None:
    own, saved, free = (exported.model(name) for name in ("own", "saved", "open"))
    picture = np.full((1, 20, 28, 3), PICTURE, np.uint8)
    found = run_model(free, picture)["features"]
    assert differences(found, np.load(exported.files / "open.npy"))["relative"] < 1e-5
    assert facts_of(own).dim == 8
    assert [output.name for output in own.graph.output] == ["features", "logits"]
    assert facts_of(saved).dim == 5
    with pytest.raises(InputError, match="height 24"):
        order(str(exported.files / "own.keras"), replace(STATED, size=(25, 32)))


@needs_keras
@pytest.mark.slow
def test_the_classifier_of_a_saved_model_is_told_apart(exported: Exported) -> None:
    model, facts = exported.model("hub"), facts_of(exported.model("hub"))
    with np.load(exported.files / "hub.npz") as arrays:
        found = run_model(model, arrays["pictures"])
        for output in ("features", "logits"):
            assert differences(found[output], arrays[output])["relative"] < 1e-5
    assert (facts.dim, facts.classes) == (6, ("cat", "dog", "owl", "elk"))  # of its assets
    own, saved = exported.model("own"), exported.model("classifier")  # the same net in two forms
    picture = np.random.default_rng(2).integers(0, 256, (2, 24, 32, 3), np.uint8)
    right, found = run_model(own, picture), run_model(saved, picture)
    assert differences(found["features"], right["features"])["relative"] < 1e-5
    exp, shares = np.exp(found["logits"]), run_model(exported.model("saved"), picture)["features"]
    assert differences(exp / exp.sum(1, keepdims=True), shares)["relative"] < 1e-5
    assert facts_of(saved).classes == ("ant", "bee", "cow", "dog", "elk")  # of the user's file
    assert (facts_of(saved).dim, facts_of(saved).notes["export"]["dim"]) == (8, 8)


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", [*POLICIES, *BATCHES])
def test_other_policies_and_a_fixed_batch_give_kerass_features(exported: Exported, name: str) -> None:
    model = exported.model(name)
    with np.load(exported.files / f"{name}.npz") as arrays:
        found = run_model(model, arrays["pictures"])["features"]
        alone = run_model(model, arrays["pictures"][:1])["features"]
        relative = differences(found, arrays["features"])["relative"]
    assert relative < POLICIES.get(name, 1e-5)
    np.testing.assert_allclose(alone, found[:1], rtol=1e-4, atol=1e-5)
    facts = facts_of(model)
    assert (facts.dim, facts.picture_recipe.height, facts.notes["removed"]) == (16, 24, ["Dense top"])
    assert facts.notes["export"]["differences"]["relative"] < 1e-5  # to Keras in float32
    assert not {tensor.data_type for tensor in model.graph.initializer} & set(HALF)


@needs_keras
@pytest.mark.slow
def test_features_that_say_nothing_are_refused(exported: Exported) -> None:
    with pytest.raises(InputError, match="are constant, the same on every picture"):
        exported.model("constant")


@needs_keras
@pytest.mark.slow
def test_the_size_is_read_from_a_real_signature(exported: Exported) -> None:
    assert input_size(exported.files / "saved") == (24, 32)
    assert input_size(exported.files / "hub") == (None, None)


def test_the_size_is_read_beside_a_fixed_batch(shared_data: Callable[[str], Path]) -> None:
    assert keras_env.input_size(shared_data("reports") / "batch1.keras") == (64, 64)


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagenet", "headless.weights.h5", "whole.weights.h5", "whole.h5"])
def test_weights_come_from_kerass_own_folder_or_a_file(exported: Exported, name: str) -> None:
    """`imagenet` finds in KERAS_HOME what Keras would have downloaded."""
    found = run_model(exported.model(name), np.full((1, 32, 32, 3), PICTURE, np.uint8))["features"]
    assert differences(found, np.load(exported.files / "mobilenet.npy"))["relative"] < 1e-4


@needs_keras
@pytest.mark.slow
def test_the_only_signature_says_the_size_and_is_called(exported: Exported) -> None:
    with np.load(exported.files / "hub.npz") as arrays:
        pictures, logits = arrays["pictures"], arrays["logits"]
    assert differences(run_model(exported.model("predict"), pictures)["features"], logits)["relative"] < 1e-4


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_cannot_do_is_said_in_words(exported: Exported, name: str) -> None:
    answer = json.loads((exported.folder / name / "answer.json").read_text())
    assert not answer["ok"]
    assert REFUSED[name][2] in answer["refused"]
    assert "Traceback" not in answer["refused"]


def test_the_child_needs_no_fxengine() -> None:
    text = Path(keras_env.CHILD).read_text()
    assert "import fxengine" not in text
    assert "from fxengine" not in text
    assert json.dumps(MODES["none"].bgr) == "false"
