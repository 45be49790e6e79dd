from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import normalize

from fxengine.errors import InputError, StoreError
from fxengine.heads import logistic
from fxengine.heads.file import Head, HeadFacts, save_linear
from tests.conftest import tiny_model


def blobs(classes: int, rows: int = 40, dim: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    centres = rng.normal(0, 1, (classes, dim))
    y = np.arange(rows * classes) % classes
    return (centres[y] + rng.normal(0, 0.8, (len(y), dim)) + 2).astype(np.float32), y


def facts(classes: int, space: str = "s" * 64) -> HeadFacts:
    return HeadFacts(space, "tiny", "logistic", tuple(f"c{i}" for i in range(classes)), {"mean": 1.0}, 10)


def test_normalise_equals_scikit_learn_and_keeps_zero_rows() -> None:
    x, _ = blobs(3)
    x[4] = 0
    np.testing.assert_allclose(logistic.normalise(x), normalize(x), atol=1e-6)
    assert not logistic.normalise(x)[4].any()


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_head_file_agrees_with_scikit_learn(classes: int, tmp_path: Path) -> None:
    x, y = blobs(classes)
    model = logistic.fit(logistic.normalise(x), y)
    save_linear(tmp_path / "h.onnx", *logistic.weights(model), facts(classes))
    head = Head.load(tmp_path / "h.onnx")
    np.testing.assert_allclose(head.probabilities(x), model.predict_proba(logistic.normalise(x)), atol=1e-5)
    plain = ort.InferenceSession(str(tmp_path / "h.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(plain.run(None, {"features": x})[0], head.probabilities(x))
    assert head.facts == facts(classes)
    assert head.dim == 12


def test_cross_validation_equals_scikit_learns() -> None:
    x, y = blobs(3)
    x = logistic.normalise(x)
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    reference = cross_val_predict(LogisticRegression(C=logistic.STRENGTH, max_iter=1000), x, y, cv=folds)
    np.testing.assert_array_equal(logistic.cross_validate(x, y, 5, seed=3), reference)


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no head file"):
        Head.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(InputError, match="is not a readable ONNX file"):
        Head.load(tmp_path / "text.onnx")
    (tmp_path / "tiny.onnx").write_bytes(tiny_model().SerializeToString())
    with pytest.raises(InputError, match="but no head that `fxengine probe` wrote"):
        Head.load(tmp_path / "tiny.onnx")


def test_a_head_of_another_space_is_refused(tmp_path: Path) -> None:
    x, y = blobs(2)
    save_linear(tmp_path / "h.onnx", *logistic.weights(logistic.fit(x, y)), facts(2))
    head = Head.load(tmp_path / "h.onnx")
    head.check_space("s" * 64, "store")
    with pytest.raises(StoreError, match=r"features of 'tiny' \(ssssssssssss\); store holds those of another space"):
        head.check_space("t" * 64, "store")
