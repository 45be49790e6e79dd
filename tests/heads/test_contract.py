"""What every head must do: fit, agree with its ONNX file, and say what it cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from fxengine.errors import InputError
from fxengine.heads import HEADS, Kind, answers, head_model, load_head, make_head
from fxengine.heads.file import Head, HeadFacts, save_head

CASES = [(name, kind) for name in HEADS for kind in load_head(name).KINDS]


def blobs(classes: int, rows: int = 40, dim: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(100 * classes + seed)
    centres = rng.normal(0, 1, (classes, dim))
    y = np.arange(rows * classes) % classes
    return (centres[y] + rng.normal(0, 0.8, (len(y), dim)) + 2).astype(np.float32), y


def problem(kind: Kind, classes: int = 3) -> tuple[np.ndarray, np.ndarray, int]:
    """Return rows, targets and how many outputs a head of them has."""
    x, y = blobs(classes)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    if kind == "labels":
        return x, np.stack([y == 0, unit[:, 0] > np.median(unit[:, 0])], axis=1).astype(int), 2
    if kind == "numbers":
        return x, np.stack([3 * unit[:, 0] - unit[:, 1], unit[:, 2] + 5], axis=1), 2
    return x, y, classes


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_file_agrees_with_the_estimator(name: str, kind: Kind, tmp_path: Path) -> None:
    x, y, outputs = problem(kind)
    pipeline = make_head(name, kind).fit(x[20:], y[20:])
    facts = HeadFacts("s" * 64, "tiny", name, ("a", "b", "c")[:outputs], {"mean": 1.0}, len(x), predicts=kind)
    save_head(tmp_path / "h.onnx", head_model(name, pipeline, 12, kind, outputs), facts)
    head = Head.load(tmp_path / "h.onnx")
    expected = answers(pipeline, x, kind)
    np.testing.assert_allclose(head.answers(x), expected, atol=1e-5)
    plain = ort.InferenceSession(str(tmp_path / "h.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(plain.run(None, {"features": x})[0], head.answers(x))
    assert (head.facts, head.dim) == (facts, 12)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_it_learns_what_can_be_learnt(name: str, kind: Kind) -> None:
    x, y, _ = problem(kind)
    train, test = np.arange(len(x)) % 4 > 0, np.arange(len(x)) % 4 == 0
    pipeline: Any = make_head(name, kind, rows=int(train.sum())).fit(x[train], y[train])
    if kind == "numbers":
        assert pipeline.score(x[test], y[test]) > 0.4
    else:
        assert (pipeline.predict(x[test]) == y[test]).mean() > 0.9


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("classes", [2, 7])
def test_two_and_many_classes(name: str, classes: int) -> None:
    x, y = blobs(classes)
    pipeline = make_head(name).fit(x, y)
    session = ort.InferenceSession(head_model(name, pipeline, 12, "classes", classes).SerializeToString())
    found = session.run(None, {"features": x})[0]
    np.testing.assert_allclose(found, pipeline.predict_proba(x), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(pipeline.predict(x), pipeline.predict_proba(x).argmax(axis=1))


@pytest.mark.parametrize("name", HEADS)
def test_a_pca_before_it_goes_into_the_file(name: str) -> None:
    x, y = blobs(3)
    pipeline = make_head(name, pca=4).fit(x, y)
    session = ort.InferenceSession(head_model(name, pipeline, 12, "classes", 3).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"features": x})[0], pipeline.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_zero_row_has_an_answer(name: str) -> None:
    x, y = blobs(3)
    x[4] = 0
    pipeline = make_head(name).fit(x, y)
    session = ort.InferenceSession(head_model(name, pipeline, 12, "classes", 3).SerializeToString())
    found = session.run(None, {"features": x[4:5]})[0]
    assert found.sum() == pytest.approx(1, abs=1e-5)
    if name != "knn":  # for which all rows are equally far
        np.testing.assert_allclose(found, pipeline.predict_proba(x[4:5]), atol=1e-5)


def test_what_there_is_not() -> None:
    with pytest.raises(InputError, match=r"There is no head 'forest'. There is: ridge, lda, logistic"):
        make_head("forest")
    with pytest.raises(InputError, match=r"'lda' cannot predict numbers. These can: ridge, knn, mlp"):
        make_head("lda", "numbers")
