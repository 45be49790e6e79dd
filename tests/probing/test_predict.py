from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fxengine import InputError, Progress, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import Listing
from fxengine.execute import open_session
from fxengine.execute.session import Session
from fxengine.pipeline.embed import Backbone
from fxengine.pipeline.precision import Choice, Wish, open_chosen
from fxengine.probing.predict import predict
from fxengine.probing.prediction import Counts
from fxengine.probing.predictions_file import write_predictions
from fxengine.probing.spans import softmax


def test_the_backbones_own_classes(photos: Path, tiny: BackboneFile) -> None:
    found = list(predict(photos, backbone=tiny.path, top=3))
    assert [p.id for p in found] == sorted(p.id for p in found)
    session = open_session(tiny.path)
    net = Backbone.load(tiny.path)
    features = net.embed([photos / p.id for p in found])
    weights = np.random.default_rng(7)
    weights.normal(0, 0.3, (8, 3, 3, 3))
    logits = features @ weights.normal(0, 1, (3, 8)).astype(np.float32).T
    assert session.outputs == ("features", "logits")
    for prediction, row in zip(found, softmax(logits), strict=True):
        order = np.argsort(-row)
        assert prediction.labels == tuple(tiny.facts.classes[i] for i in order)
        assert prediction.probabilities == pytest.approx([float(row[i]) for i in order], abs=1e-3)


def test_progress_counts_pictures_and_failures(photos: Path, tiny: BackboneFile) -> None:
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    seen: list[Progress] = []
    assert len(list(predict(photos, backbone=tiny.path, limit=12, progress=seen.append))) == 12
    assert (seen[-1].done, seen[-1].failed, seen[-1].total) == (12, 1, 12)


def test_it_computes_in_fp32_unless_asked(photos: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = open_chosen

    def spy(found: BackboneFile, inputs: Listing, count: int, wish: Wish) -> tuple[Session, Choice]:
        opened.append(wish.precision)
        return real(found, inputs, count, replace(wish, precision="fp32"))

    monkeypatch.setattr("fxengine.probing.predict.open_chosen", spy)
    assert len(list(predict(photos, backbone=tiny.path))) == 20
    assert len(list(predict(photos, backbone=tiny.path, precision="int8"))) == 20
    assert opened == ["fp32", "int8"]


def test_softmax_is_stable() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])), [[0.5, 0.5], [0.25, 0.75]])


def test_a_store_needs_a_head(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "s", backbone=tiny.path)
    with pytest.raises(InputError, match="is a feature store: give a head as `model`"):
        predict(tmp_path / "s")


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_every_file_holds_every_prediction(photos: Path, tmp_path: Path, tiny: BackboneFile, suffix: str) -> None:
    (photos / "cats" / "bad,\n.jpg").write_bytes(b"")
    path = tmp_path / f"out{suffix}"
    assert write_predictions(predict(photos, backbone=tiny.path, top=2), path) == Counts(21, 1)
    rows: list[dict[str, object]]
    if suffix == ".json":
        rows = json.loads(path.read_text())
    elif suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        with path.open(newline="") as file:
            rows = [dict(row) for row in csv.DictReader(file)]
    expected = list(predict(photos, backbone=tiny.path, top=2))
    for row, prediction in zip(rows, expected, strict=True):
        assert row["id"] == prediction.id
        assert (row["error"] or None) == prediction.error
        if prediction.labels:
            assert row["label"] == prediction.labels[0]
            assert float(str(row["probability"])) == pytest.approx(prediction.probabilities[0], abs=1e-3)
            labels = row["labels"].split("|") if suffix == ".csv" else row["labels"]  # type: ignore[attr-defined]
            assert tuple(labels) == prediction.labels  # type: ignore[arg-type]


def test_an_unknown_suffix_writes_nothing(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    with pytest.raises(InputError, match=r"must end in .parquet, .csv, .json"):
        write_predictions(predict(photos, backbone=tiny.path), tmp_path / "out.xls")
    assert list(tmp_path.glob("out*")) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"limit": -1}, r"`limit` must be at least 1\. Got -1\."),
        ({"top": 0}, r"`top` must be at least 1\. Got 0\."),
        ({"device": "tpu"}, r"There is no `device` 'tpu'\."),
        ({"inputs": ["a.jpg"]}, r"`inputs` must be a path \(text or pathlib\.Path\)\. Got an object of type list\."),
        ({"model": 5}, r"`model` must be a path \(text or pathlib\.Path\)\. Got 5\."),
    ],
)
def test_what_cannot_be_is_said(photos: Path, tiny: BackboneFile, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        predict(**{"inputs": photos, "backbone": tiny.path, **wrong})
