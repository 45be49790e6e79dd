"""What every head must do: fit, agree with its ONNX file, and say what it cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from fxengine.errors import InputError
from fxengine.heads import (
    HEADS,
    WEIGHTED,
    HeadModule,
    HeadSettings,
    Kind,
    answers_of,
    head_model,
    knn,
    lda,
    load_head,
    logistic,
    make_head,
    mlp,
    ridge,
    svm,
)
from fxengine.heads.evaluate.scores import Problem, assign_folds
from fxengine.heads.file import Head, HeadFacts, save_head
from fxengine.heads.streams import streamed
from fxengine.heads.streams.streamed import STREAMED
from tests.features.test_moments import blocks_of

# Assigned one by one, so that mypy holds every module against the protocol.
MODULES: dict[str, HeadModule[Any]] = {
    "ridge": ridge,
    "lda": lda,
    "logistic": logistic,
    "svm": svm,
    "knn": knn,
    "mlp": mlp,
}
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


def test_the_protocol_is_checked_of_every_head() -> None:
    assert list(MODULES) == list(HEADS)
    assert all(load_head(name) is MODULES[name] for name in HEADS)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_file_agrees_with_the_estimator(name: str, kind: Kind, tmp_path: Path) -> None:
    x, y, outputs = problem(kind)
    pipeline = make_head(name, kind).fit(x[20:], y[20:])
    facts = HeadFacts("s" * 64, "tiny", name, ("a", "b", "c")[:outputs], {"mean": 1.0}, len(x), predicts=kind)
    save_head(tmp_path / "h.onnx", head_model(name, pipeline, 12, kind, outputs), facts)
    head = Head.load(tmp_path / "h.onnx")
    expected = answers_of(pipeline, x, kind)
    np.testing.assert_allclose(head.answers(x), expected, atol=1e-5)
    plain = ort.InferenceSession(str(tmp_path / "h.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(plain.run(None, {"features": x})[0], head.answers(x))
    assert (head.facts, head.dim) == (facts, 12)


@pytest.mark.parametrize("scale", [1.0, 1.7])
@pytest.mark.parametrize("settings", [HeadSettings(), HeadSettings(pca=4), HeadSettings(balanced=True)], ids=str)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_head_can_be_read_again(
    name: str, kind: Kind, settings: HeadSettings, scale: float, tmp_path: Path
) -> None:
    x, y, outputs = problem(kind)
    pipeline = make_head(name, kind, replace(settings, balanced=settings.balanced and kind == "classes")).fit(x, y)
    model = head_model(name, pipeline, 12, kind, outputs, 1.0 if kind == "numbers" else scale)
    facts = HeadFacts("s" * 64, "tiny", name, ("a", "b", "c")[:outputs], {"mean": 1.0}, len(x), predicts=kind)
    save_head(tmp_path / "h.onnx", model, facts)
    assert Head.load(tmp_path / "h.onnx").answers(x).shape == (len(x), outputs)


@pytest.mark.parametrize("hidden", [(5,), (6, 5), (7, 6, 5)], ids=str)
def test_every_mlp_can_be_read_again(hidden: tuple[int, ...], tmp_path: Path) -> None:
    x, y = blobs(2)
    model = head_model("mlp", make_head("mlp", settings=HeadSettings(hidden=hidden)).fit(x, y), 12, "classes", 2)
    save_head(tmp_path / "h.onnx", model, HeadFacts("s" * 64, "tiny", "mlp", ("a", "b"), {"mean": 1.0}, len(x)))
    assert Head.load(tmp_path / "h.onnx").answers(x).shape == (len(x), 2)


def test_of_few_rows_the_nearest_can_be_read_again(tmp_path: Path) -> None:
    x, y = blobs(2, rows=1)
    model = head_model("knn", make_head("knn", rows=2).fit(x, y), 12, "classes", 2)
    save_head(tmp_path / "h.onnx", model, HeadFacts("s" * 64, "tiny", "knn", ("a", "b"), {"mean": 1.0}, len(x)))
    assert Head.load(tmp_path / "h.onnx").answers(x).tolist() == [[0.5, 0.5]] * 2


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
    pipeline = make_head(name, settings=HeadSettings(pca=4)).fit(x, y)
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


@pytest.mark.parametrize("name", HEADS)
def test_rare_classes_are_found_more_often_where_every_class_counts_as_much(name: str) -> None:
    x, y = blobs(2, rows=150, dim=3)
    keep = (y == 1) | (np.arange(len(y)) % 30 == 0)
    x, y = x[keep] * 0.5 + np.random.default_rng(0).normal(0, 1.5, (keep.sum(), 3)), y[keep]
    plain, balanced = (make_head(name, "classes", HeadSettings(balanced=b)).fit(x, y) for b in (False, True))
    found = [int((head.predict(x) == 0).sum()) for head in (plain, balanced)]
    assert found[0] < found[1] or (name not in WEIGHTED["classes"] and found[0] == found[1])


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, head in STREAMED.items() for kind in head.kinds])
def test_what_is_fitted_in_streams_makes_the_same_file(name: str, kind: Kind) -> None:
    assert kind in load_head(name).KINDS
    x, y, outputs = problem(kind)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    wanted = Problem(kind, ("a", "b", "c")[:outputs], y, np.arange(len(y)))
    fitted = streamed.fit(name, blocks_of(x, 50), wanted, assign_folds(wanted, 4, 0))
    pipeline, out_of_fold = make_pipeline(Normalizer(), fitted.estimator), fitted.answers
    assert isinstance(out_of_fold, np.ndarray)
    session = ort.InferenceSession(head_model(name, pipeline, 12, kind, outputs).SerializeToString())
    found = session.run(None, {"features": x})[0]
    np.testing.assert_allclose(found, answers_of(pipeline, x, kind), atol=1e-5)
    assert out_of_fold.shape == found.shape
    assert np.corrcoef(out_of_fold.ravel(), found.ravel())[0, 1] > 0.8
    memory = answers_of(make_head(name, kind).fit(x, y), x, kind)
    assert np.corrcoef(memory.ravel(), found.ravel())[0, 1] > 0.95
    if kind != "numbers":
        assert (memory.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.95  # at another strength
    else:
        np.testing.assert_allclose(found, memory, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in HEADS if name not in STREAMED])
def test_what_is_not_in_the_table_is_not_fitted_in_streams(name: str) -> None:
    x, y, _ = problem("classes")
    wanted = Problem("classes", ("a", "b", "c"), y, np.arange(len(y)))
    with pytest.raises(InputError, match=f"The head '{name}' needs all vectors in memory.*ridge or lda or logistic"):
        streamed.fit(name, blocks_of(x, 50), wanted, assign_folds(wanted, 4, 0))


def test_what_there_is_not() -> None:
    with pytest.raises(InputError, match=r"There is no `head` 'forest'. There is: ridge, lda, logistic"):
        make_head("forest")
    with pytest.raises(InputError, match=r"'lda' cannot predict numbers. These can: ridge, knn, mlp"):
        make_head("lda", "numbers")
