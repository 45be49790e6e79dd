from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.heads import logistic
from fxengine.heads.file import Head
from fxengine.tasks.predict import predict
from fxengine.tasks.probe import probe
from tests.conftest import make_photo


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    extract(photos, tmp_path / "store", backbone=tiny.path)
    return tmp_path / "store"


def test_the_report_counts_what_cross_validation_found(store: Path, tmp_path: Path) -> None:
    report = probe(store, tmp_path / "head.onnx", folds=5)
    table = FeatureStore.open(store).table()
    wanted = np.array([label == "dogs" for label in table.labels]).astype(int)
    predicted = logistic.cross_validate(logistic.normalise(table.vectors), wanted, 5)
    assert report.accuracy.mean == (predicted == wanted).mean()
    assert (report.rows, report.chance, report.classes, report.folds) == (20, 0.5, {"cats": 10, "dogs": 10}, 5)
    assert report.recall["cats"] == (predicted[wanted == 0] == 0).mean()
    facts = Head.load(tmp_path / "head.onnx").facts
    assert facts.classes == ("cats", "dogs")
    assert facts.accuracy == {"mean": report.accuracy.mean, "low": report.accuracy.low, "high": report.accuracy.high}


def test_the_head_answers_the_same_on_photos_and_on_the_store(
    store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract(photos, store, backbone=tiny.path)
    probe(store, tmp_path / "head.onnx")
    from_store = {p.id: p for p in predict(store, model=tmp_path / "head.onnx", top=2)}
    from_photos = {p.id: p for p in predict(photos, model=tmp_path / "head.onnx", backbone=tiny.path, top=2)}
    assert from_store.keys() == from_photos.keys()
    assert len(from_store) == 21
    for key, prediction in from_photos.items():
        assert prediction.labels == from_store[key].labels
        assert prediction.probabilities == pytest.approx(from_store[key].probabilities, abs=0.01)
    assert from_photos["cats/bad.jpg"].error == "The file is empty."


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"": 3}, "No row of .* has a label"),
        ({"cats": 4, "dogs": 1}, "Class 'dogs' has one row"),
    ],
)
def test_labels_that_cannot_be_probed(
    folders: dict[str, int], message: str, tmp_path: Path, tiny: BackboneFile
) -> None:
    for folder, count in folders.items():
        for i in range(count):
            make_photo(tmp_path / "p" / folder / f"{i}.jpg", i)
    extract(tmp_path / "p", tmp_path / "s", backbone=tiny.path)
    with pytest.raises(StoreError, match=message):
        probe(tmp_path / "s", tmp_path / "head.onnx")
    assert not (tmp_path / "head.onnx").exists()


def test_fewer_rows_than_folds_means_fewer_folds(tmp_path: Path, tiny: BackboneFile) -> None:
    for i in range(6):
        make_photo(tmp_path / "p" / "ab"[i % 2] / f"{i}.jpg", i)
    extract(tmp_path / "p", tmp_path / "s", backbone=tiny.path)
    assert probe(tmp_path / "s").folds == 3


@pytest.mark.slow
def test_cats_and_dogs_with_the_embedded_backbone(shared_data: object, tmp_path: Path) -> None:
    photos = shared_data("cats_dogs")  # type: ignore[operator]
    extract(photos, tmp_path / "s", limit=400)
    report = probe(tmp_path / "s", tmp_path / "head.onnx")
    assert report.accuracy.low > 0.95
    predictions = [p for p in predict(photos, model=tmp_path / "head.onnx", top=1) if p.id.startswith("val/")]
    assert np.mean([p.labels[0] == p.id.split("/")[1] for p in predictions]) > 0.95
