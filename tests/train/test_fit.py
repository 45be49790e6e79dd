from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fxengine import InputError
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.heads.evaluate.interval import Interval
from fxengine.train import fit as task
from fxengine.train.advise import advise
from fxengine.train.finetune import finetune, preview_augmentation
from fxengine.train.fit import fit
from fxengine.train.trainable import load_trainable
from tests.reviews import write_reviews


def test_an_easy_target_needs_no_training(photos: Path, tiny: BackboneFile, tmp_path: Path) -> None:
    report = fit(photos, tmp_path / "m.onnx", target=0.01, backbone=str(tiny.path))
    assert [step.name for step in report.steps] == ["extract", "probe", "advise", "bundle"]
    assert report.reached
    assert report.score.mean >= 0.01
    assert "20 pictures embedded" in report.steps[0].said
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(["probabilities"], {"images": np.zeros((3, 32, 32, 3), np.uint8)})[0]
    np.testing.assert_allclose(np.asarray(found).sum(axis=1), 1, atol=1e-5)
    written = json.loads((tmp_path / "m.fit" / "report.json").read_text())
    assert written == json.loads(json.dumps(report.to_dict()))


def test_a_backbone_that_cannot_be_trained_misses_its_target(photos: Path, tiny: BackboneFile, tmp_path: Path) -> None:
    report = fit(photos, tmp_path / "m.onnx", target=1.0, backbone=str(tiny.path))
    assert not report.reached
    assert "cannot be fine-tuned" in report.steps[2].said
    assert (tmp_path / "m.onnx").is_file()


def test_it_trains_where_that_is_likely_to_pay(
    photos: Path, tiny: BackboneFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def train(source: Path, output: Path, **arguments: Any) -> Any:
        calls.append((source, output, arguments["backbone"]))
        score = Interval(0.5, 0.2, 0.8)
        return SimpleNamespace(kept="probe", metric="accuracy", tuned=SimpleNamespace(test=score))

    monkeypatch.setattr(task, "finetune", train)
    monkeypatch.setattr(task, "advise", lambda *a, **k: replace(advise(*a, **k), trainable=True, finetune_pays=True))
    report = fit(photos, tmp_path / "m.onnx", target=1.0, backbone=str(tiny.path))
    assert calls == [(photos, tmp_path / "m.fit" / "tuned.onnx", str(tiny.path))]
    assert report.steps[3].said == (
        "test accuracy 50.0% (95% interval 20.0% to 80.0%); no better on the validation pictures: the probe is kept."
    )


def test_the_output_is_onnx(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        fit(photos, tmp_path / "m.txt", target=0.9)


def test_a_target_that_cannot_be_is_said_at_once(photos: Path, tiny: BackboneFile, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`target` must be a number above 0 and at most 1\. Got 95\."):
        fit(photos, tmp_path / "m.onnx", target=95, backbone=str(tiny.path))
    assert not (tmp_path / "m.fit").exists()


def test_texts_are_refused_before_anything_is_made(photos: Path, tmp_path: Path, tiny_texts: BackboneFile) -> None:
    table, folder = write_reviews(tmp_path / "t.csv"), tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("good")
    for inputs in (table, folder):
        with pytest.raises(InputError, match="holds texts, and this takes pictures"):
            fit(inputs, tmp_path / "m.onnx")
        with pytest.raises(InputError, match="holds texts: give `backbone` vectors:FILE, over which a net is trained"):
            finetune(inputs, tmp_path / "m.onnx")
        with pytest.raises(InputError, match="holds texts, and this takes pictures"):
            preview_augmentation(inputs, tmp_path / "sheet.png")
    with pytest.raises(InputError, match="tiny_text takes texts, and this takes pictures"):
        fit(photos, tmp_path / "m.onnx", backbone=str(tiny_texts.path))
    with pytest.raises(InputError, match=r"minilm_l6 cannot be trained: nets of Keras can \(efficientnet_lite0, keras"):
        load_trainable("minilm_l6", ExportOptions(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "t.csv", "folder"}
