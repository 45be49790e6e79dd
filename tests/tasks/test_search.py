from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones import cache
from fxengine.backbones.cache import write_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import DecodeError
from fxengine.tasks.embed import Backbone
from fxengine.tasks.search import search
from tests.conftest import tiny_model


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    extract(photos, tmp_path / "store", backbone=tiny.path)
    return tmp_path / "store"


def test_a_stored_picture_finds_itself_first(store: Path, photos: Path, tiny: BackboneFile) -> None:
    report = search(store, photos / "cats" / "03.jpg", k=4, backbone=tiny.path)
    assert (report.neighbours[0].id, report.neighbours[0].label) == ("cats/03.jpg", "cats")
    assert report.neighbours[0].score == pytest.approx(1, abs=1e-3)
    vectors = FeatureStore.open(store).vectors().astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    query = unit[FeatureStore.open(store).ids().index("cats/03.jpg")]
    ids = FeatureStore.open(store).ids()
    assert [n.id for n in report.neighbours] == [ids[i] for i in np.argsort(-(unit @ query))[:4]]
    assert report.rows == 20
    assert min(report.open_ms, report.load_ms, report.first_ms, report.warm_ms) > 0


def test_the_backbone_of_the_space_comes_from_its_file_or_the_cache(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    store, model = tmp_path / "s", tmp_path / "model.onnx"
    write_backbone(tiny_model(), model)
    monkeypatch.chdir(tmp_path)
    extract(photos, store, backbone="model.onnx")
    monkeypatch.chdir(photos)
    assert search(store, photos / "cats" / "03.jpg", k=1).neighbours[0].id == "cats/03.jpg"
    model.unlink()
    with pytest.raises(InputError, match=r"neither in the cache nor made by a fresh export.*--backbone"):
        search(store, photos / "cats" / "03.jpg")
    cache.keep(tiny_model(), "tiny-test")
    assert search(store, photos / "cats" / "03.jpg", k=1).neighbours[0].id == "cats/03.jpg"


def test_another_backbone_is_refused(store: Path, photos: Path, tmp_path: Path) -> None:
    write_backbone(tiny_model(scale=2.0), tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"makes features of space .*; asked for is"):
        search(store, photos / "cats" / "03.jpg", backbone=tmp_path / "other.onnx")


def test_what_cannot_be_searched(store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"bad\.jpg: The file is empty\."):
        search(store, tmp_path / "bad.jpg", backbone=tiny.path)
    with pytest.raises(InputError, match=r"-k must be at least 1\. Got 0\."):
        search(store, photos / "cats" / "03.jpg", k=0)
    with pytest.raises(StoreError, match="is no feature store"):
        search(photos, photos / "cats" / "03.jpg")


def test_embed_takes_every_kind_of_picture(photos: Path, tiny: BackboneFile) -> None:
    from PIL import Image

    net = Backbone.load(tiny.path)
    path = photos / "cats" / "03.jpg"
    image = Image.open(path)
    found = net.embed([path, str(path), path.read_bytes(), image, np.asarray(image)], batch_size=2)
    assert found.shape == (5, net.dim)
    assert found.dtype == np.float32
    for vector in found[1:]:
        np.testing.assert_allclose(vector, found[0], atol=2e-2)
    assert net.embed([]).shape == (0, 8)
    with pytest.raises(InputError, match="takes a list"):
        net.embed(path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"uint8 \[height, width, 3\]. Got float64 \[3, 3\]"):
        net.embed([np.ones((3, 3))])
    with pytest.raises(InputError, match="Got int"):
        net.embed([3])
