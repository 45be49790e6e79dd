from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from fxengine import FeatureStore, bundle, pca, predict, probe
from fxengine.backbones.spec import BackboneFile
from fxengine.heads.file import Head
from fxengine.probing.bundle import Agreement
from tests.conftest import ROOT
from tests.reviews import REVIEWS, review_store, write_reviews


@pytest.fixture
def store(tmp_path: Path, tiny_texts: BackboneFile) -> Path:
    return review_store(write_reviews(tmp_path / "reviews.csv"), tmp_path / "store", tiny_texts)


def lines_of_the_docs(model: Path, text: str) -> dict[str, Any]:
    """Run the code of docs/texts.md and return its names."""
    page = (ROOT / "docs" / "texts.md").read_text()
    (code,) = re.findall(r"```python\n(import base64.*?)```", page, re.S)
    names: dict[str, Any] = {}
    exec(code.replace("reviews.onnx", str(model)).replace("It broke on the first day.", text), names)
    return names


@pytest.mark.parametrize("head", ["ridge", "knn"])
def test_the_lines_of_the_docs_answer_as_predict_does(
    head: str, store: Path, tmp_path: Path, tiny_texts: BackboneFile
) -> None:
    probe(store, tmp_path / "head.onnx", head=head)
    made = bundle(tiny_texts.path, tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    agreed = made.agreement
    assert (agreed.rows, agreed.gone, agreed.same, agreed.modality) == (60, 0, 1, "text")
    assert agreed.worst < 0.01
    texts = [REVIEWS["r03"], "good", "a text of more letters than the net takes " * 3]
    for text, found in zip(texts, predict(text=texts, model=tmp_path / "head.onnx", top=1), strict=True):
        names = lines_of_the_docs(tmp_path / "model.onnx", text)
        assert names["label"][0] == found.labels[0]
        assert names["probabilities"].max() == pytest.approx(found.probabilities[0], abs=1e-5)
        assert names["ids"].shape[1] <= names["recipe"]["max_tokens"] == 16


def test_a_bundle_of_a_reduced_space_of_texts(store: Path, tmp_path: Path) -> None:
    pca(store, tmp_path / "pca.onnx", dim=4, reduced=tmp_path / "reduced")
    probe(tmp_path / "reduced", tmp_path / "head.onnx", head="ridge")
    made = bundle(f"pca:{tmp_path / 'pca.onnx'}", tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    assert (made.agreement.rows, made.agreement.same) == (60, 1)
    found = list(predict(text=REVIEWS["r03"], model=tmp_path / "head.onnx"))
    reduced = FeatureStore.open(tmp_path / "reduced").select(ids=["r03"]).vectors(dtype="float32")
    answers = Head.load(tmp_path / "head.onnx").answers(reduced)[0]
    assert found[0].probabilities[0] == pytest.approx(answers.max(), abs=2e-3)
    assert [each.name for each in ort.InferenceSession(str(tmp_path / "model.onnx")).get_inputs()] == [
        "tokens",
        "lengths",
    ]


def test_texts_that_are_gone_or_somebody_elses_are_not_compared(
    store: Path, tmp_path: Path, tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(store, tmp_path / "head.onnx", head="ridge")
    write_reviews(tmp_path / "reviews.csv", {"r03": "another text"})
    made = bundle(tiny_texts.path, tmp_path / "head.onnx", tmp_path / "model.onnx")
    assert made.agreement is not None
    assert (made.agreement.rows, made.agreement.gone) == (59, 1)
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "of another user"))  # who named nothing
    nothing = Agreement(0, 0.0, 0.0, 60, "text")
    assert bundle(tiny_texts.path, tmp_path / "head.onnx", tmp_path / "m.onnx", store=store).agreement == nothing
    shutil.rmtree(store)
    assert bundle(tiny_texts.path, tmp_path / "head.onnx", tmp_path / "m.onnx").agreement is None
