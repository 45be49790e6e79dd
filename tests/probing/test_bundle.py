from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones import cache, load_backbone
from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.graph.run import open_plain, outputs_of
from fxengine.backbones.spec import BackboneFile
from fxengine.heads.file import Head
from fxengine.probing.bundle import Agreement, bundle
from fxengine.probing.predict import predict
from fxengine.probing.probe import probe
from fxengine.reduce.fit import pca
from tests.backbones.padded import classifier, keep_as_before, unmended
from tests.conftest import ROOT, make_photo, tiny_model


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    extract(photos, tmp_path / "store", backbone=tiny.path)
    return tmp_path / "store"


def ten_lines(model: Path, photo: Path) -> dict[str, object]:
    """Run the code of docs/probes.md and return its names."""
    text = (ROOT / "docs" / "probes.md").read_text()
    (code,) = re.findall(r"```python\n(import json.*?)```", text, re.S)
    names: dict[str, object] = {}
    exec(code.replace("model.onnx", str(model)).replace("photo.jpg", str(photo)), names)
    return names


@pytest.mark.parametrize("head", ["ridge", "knn", "mlp"])
def test_the_lines_of_the_docs_answer_as_predict_does(
    head: str, store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    probe(store, tmp_path / "head.onnx", head=head)
    made = bundle(tiny.path, tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    assert (made.agreement.rows, made.agreement.gone) == (20, 0)
    assert made.agreement.same == 1
    assert made.agreement.worst < 0.01
    expected = {p.id: p for p in predict(photos, model=tmp_path / "head.onnx", backbone=tiny.path, top=1)}
    for key in ("cats/03.jpg", "dogs/04.jpg"):
        found = ten_lines(tmp_path / "model.onnx", photos / key)
        assert found["label"][0] == expected[key].labels[0]  # type: ignore[index]
        assert found["probabilities"].max() == pytest.approx(expected[key].probabilities[0], abs=0.02)  # type: ignore[attr-defined]


def test_a_bundle_of_a_reduced_space(store: Path, photos: Path, tmp_path: Path) -> None:
    pca(store, tmp_path / "pca.onnx", dim=4, reduced=tmp_path / "reduced")
    probe(tmp_path / "reduced", tmp_path / "head.onnx")
    made = bundle(f"pca:{tmp_path / 'pca.onnx'}", tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    assert made.agreement.same == 1
    pixels = np.asarray(Image.open(photos / "cats" / "03.jpg").resize((32, 32)))
    session = ort.InferenceSession(str(tmp_path / "model.onnx"))
    assert [o.name for o in session.get_outputs()] == ["probabilities", "label"]
    many = session.run(None, {"images": np.stack([pixels, pixels])})
    assert many[0].shape == (2, 2)
    assert list(many[1][:1]) == list(many[1][1:])


@pytest.mark.parametrize("before", [False, True], ids=["a new export", "one of an earlier version"])
def test_a_bundle_of_a_net_that_the_optimiser_breaks(before: bool, photos: Path, tmp_path: Path) -> None:
    """A Pad with zeros before a MaxPool; earlier versions left it as it was."""
    found = load_backbone(f"onnx:{classifier(tmp_path / 'net.onnx', padded=True)}")
    if before:
        write_backbone(unmended(onnx.load(found.path)), tmp_path / "before.onnx")
        found = read_backbone(tmp_path / "before.onnx")
    extract(photos, tmp_path / "store", backbone=found.path, dtype="float32")
    probe(tmp_path / "store", tmp_path / "head.onnx")
    made = bundle(found.path, tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    assert (made.agreement.rows, made.agreement.same) == (20, 1)
    assert made.agreement.worst < 1e-3
    pixels = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)
    plain, careful = (open_plain(tmp_path / "model.onnx", optimised=o) for o in (True, False))
    right = outputs_of(careful, pixels)["probabilities"]
    np.testing.assert_allclose(outputs_of(plain, pixels)["probabilities"], right, rtol=0, atol=1e-4)
    features = outputs_of(open_plain(found.path, optimised=False), pixels)["features"]
    stored = Head.load(tmp_path / "head.onnx").answers(features)
    np.testing.assert_allclose(right, stored, rtol=0, atol=1e-4)


def test_a_head_from_before_fits_behind_a_source_that_is_mended_now(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    source = f"onnx:{classifier(tmp_path / 'net.onnx', padded=True)}"
    former = cache.find_by_fingerprint(keep_as_before(source))
    assert former is not None
    extract(photos, tmp_path / "store", backbone=former.path)
    probe(tmp_path / "store", tmp_path / "head.onnx")
    made = bundle(source, tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    assert made.agreement.worst < 1e-3


def test_a_bundle_of_numbers_and_pictures_that_are_gone(
    store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    opened = FeatureStore.open(store)
    lines = [f"{key},{vector[0]:.6f}" for key, vector in zip(opened.ids(), opened.vectors(), strict=True)]
    (tmp_path / "t.csv").write_text("id,price\n" + "\n".join(lines))
    probe(store, tmp_path / "head.onnx", labels=tmp_path / "t.csv")
    (photos / "cats" / "03.jpg").unlink()
    made = bundle(tiny.path, tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    assert (made.agreement.rows, made.agreement.gone) == (19, 1)
    session = ort.InferenceSession(str(tmp_path / "model.onnx"))
    assert [o.name for o in session.get_outputs()] == ["values"]


def test_what_does_not_belong_together(store: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    probe(store, tmp_path / "head.onnx")
    write_backbone(tiny_model(scale=2.0), tmp_path / "other.onnx")
    with pytest.raises(StoreError, match="The head was trained on features of"):
        bundle(tmp_path / "other.onnx", tmp_path / "head.onnx", tmp_path / "model.onnx")
    make_photo(tmp_path / "p" / "a" / "1.jpg", 1)
    extract(tmp_path / "p", tmp_path / "s2", backbone=tmp_path / "other.onnx")
    with pytest.raises(StoreError, match="holds those of another space"):
        bundle(tiny.path, tmp_path / "head.onnx", tmp_path / "model.onnx", store=tmp_path / "s2")
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        bundle(tiny.path, tmp_path / "head.onnx", tmp_path / "model.pb")
    assert not list(tmp_path.glob("*model*"))
    assert Head.load(tmp_path / "head.onnx").facts.store == str(store)


def test_pictures_of_a_store_from_elsewhere_are_not_read(
    photos: Path, store: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(store, tmp_path / "head.onnx", head="ridge")
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "of another user"))  # who named nothing
    opened = []
    monkeypatch.setattr(
        "fxengine.decode.picture.preparer.PicturePreparer.payload_of", lambda _, path: opened.append(path)
    )
    made = bundle(tiny.path, tmp_path / "head.onnx", tmp_path / "model.onnx", store=store)
    assert (made.agreement, opened) == (Agreement(0, 0.0, 0.0, 20), [])
