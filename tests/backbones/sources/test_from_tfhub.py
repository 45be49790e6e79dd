"""The way from a handle to a backbone; the child is a stand-in, its real work is in test_from_keras.py."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from fxengine.backbones import load_backbone, source_name
from fxengine.backbones.children import keras_env
from fxengine.backbones.export import export
from fxengine.backbones.graph.run import run_model
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_tfhub
from fxengine.errors import InputError
from fxengine.probing.predict import predict
from tests.kaggle_server import Kaggle, kaggle_server, use_kaggle
from tests.saved_models import VERSIONS, classifier, signature, stand_in

HANDLE = "google/tiny/tensorFlow2/classification"
TRUST = ExportOptions(trust=True)
FILES = {"saved_model.pb": signature(-1, 24, 20, 3), "assets/labels.txt": b"cat\ndog\nowl\nelk\n"}


@pytest.fixture(scope="module")
def _server() -> Iterator[Kaggle]:
    with kaggle_server() as server:
        yield server


@pytest.fixture
def server(_server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kaggle:
    _server.forget()
    _server.models["google/tiny/classification"] = {3: FILES}
    use_kaggle(monkeypatch, _server.url, tmp_path / "kaggle")
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(keras_env, "versions", lambda: VERSIONS)
    monkeypatch.setattr(keras_env, "run", stand_in)
    return _server


def test_it_is_neither_asked_for_nor_fetched_without_trust(server: Kaggle) -> None:
    with pytest.raises(InputError, match=f"tfhub:{HANDLE} is a SavedModel, which is a program.*`trust`"):
        load_backbone(f"tfhub:{HANDLE}")
    assert not server.asked


def test_its_facts_say_which_version_it_is(server: Kaggle) -> None:
    facts = load_backbone(f"tfhub:{HANDLE}", TRUST).facts
    assert facts.name == "tiny-classification"
    assert facts.source == f"tfhub:{HANDLE}/3 (keras 3, tensorflow 2, tf2onnx 1)"
    assert facts.licence == "Apache 2.0"
    digest = hashlib.sha256(FILES["saved_model.pb"]).hexdigest()
    assert facts.notes["tfhub"] == {"model": f"{HANDLE}/3", "file": "saved_model.pb", "sha256": digest}
    assert facts.notes["preprocessing"] == "TensorFlow Hub's common signatures: 0 to 1"
    recipe = facts.picture_recipe
    assert (recipe.height, recipe.width, recipe.edge, recipe.kernel) == (24, 20, "both", "bilinear")
    assert (facts.dim, facts.classes) == (4, ())


def test_pixels_are_from_0_to_1_unless_stated(server: Kaggle) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (2, 24, 20, 3), np.uint8)
    plain = load_backbone(f"tfhub:{HANDLE}", TRUST)
    stated = load_backbone(f"tfhub:{HANDLE}", replace(TRUST, scale=1 / 127.5, mean=(1.0, 1.0, 1.0)))
    net = classifier()
    for found, ready in ((plain, pictures / 255), (stated, pictures / 127.5 - 1)):
        right = run_model(net, ready.astype(np.float32))["features"]
        np.testing.assert_allclose(run_model(onnx.load(found.path), pictures)["features"], right, rtol=1e-4)
    with pytest.raises(InputError, match="height 24, but the preprocessing says 25"):
        load_backbone(f"tfhub:{HANDLE}", replace(TRUST, size=(25, 20)))


def test_it_is_made_once_for_a_version(server: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_backbone(f"tfhub:{HANDLE}", TRUST)
    before = server.asked.total()
    monkeypatch.setattr(keras_env, "run", None)  # another export would now fail
    assert load_backbone(f"tfhub:{HANDLE}", TRUST) == first
    assert server.asked.total() == before + 1  # for the newest version
    monkeypatch.setattr(keras_env, "run", stand_in)
    server.models["google/tiny/classification"][4] = FILES
    assert load_backbone(f"tfhub:{HANDLE}", TRUST).facts.source.startswith(f"tfhub:{HANDLE}/4 ")
    identity = from_tfhub.identity(f"{HANDLE}/4", TRUST)
    server.asked.clear()
    assert from_tfhub.identity(f"{HANDLE}/4", TRUST) == identity != from_tfhub.identity(f"{HANDLE}/3", TRUST)
    assert not server.asked


def test_its_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(HANDLE).mkdir(parents=True)
    assert source_name(f"tfhub:{HANDLE}") == f"tfhub:{HANDLE}"


def test_predict_names_the_classes_of_its_labels(server: Kaggle, tmp_path: Path) -> None:
    """By the file in the SavedModel, else by one that the user names, else by numbers."""
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(2).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(pixels).save(photos / "a.png")
    own = tmp_path / "own.txt"
    own.write_text("one\ntwo\nthree\nfour\n")
    shares = run_model(classifier(), (pixels[None] / 255).astype(np.float32))["features"][0]
    best = int(shares.argmax())
    for labels, names in ((None, ["cat", "dog", "owl", "elk"]), (own, ["one", "two", "three", "four"])):
        made = export(f"tfhub:{HANDLE}", tmp_path / "net.onnx", trust=True, logits=True, labels=labels)
        assert made.file.facts.dim == 6
        assert made.file.facts.classes == tuple(names)
        assert made.report.dim == 6
        (found,) = predict(photos, backbone=tmp_path / "net.onnx", top=1, precision="fp32").predictions
        assert found.labels == (names[best],)
        assert found.probabilities[0] == pytest.approx(shares[best], rel=1e-3)
    server.models["google/tiny/classification"][4] = {"saved_model.pb": FILES["saved_model.pb"]}
    assert load_backbone(f"tfhub:{HANDLE}", replace(TRUST, logits=True)).facts.classes == ("0", "1", "2", "3")


def test_labels_want_logits_and_a_net_of_keras(server: Kaggle, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(InputError, match=r"`labels` names the classes .*`logits`"):
        load_backbone(f"tfhub:{HANDLE}", replace(TRUST, labels=labels))
    with pytest.raises(InputError, match="names 2 classes, and the net has 4"):
        load_backbone(f"tfhub:{HANDLE}", replace(TRUST, labels=labels, logits=True))
    with pytest.raises(InputError, match=r"There is no file of labels .*none\.txt"):
        load_backbone(f"tfhub:{HANDLE}", replace(TRUST, labels=tmp_path / "none.txt", logits=True))
    with pytest.raises(InputError, match="no net of Keras, TensorFlow Hub, timm or torchvision: leave `labels` away"):
        load_backbone("onnx:net.onnx", ExportOptions(labels=labels, logits=True))
