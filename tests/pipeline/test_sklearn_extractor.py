from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from fxengine import FeatureExtractor, InputError
from fxengine.backbones.cache import write_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import DecodeError
from fxengine.pipeline.embed import Backbone
from tests.conftest import tiny_model


@pytest.fixture
def paths(photos: Path) -> np.ndarray:
    return np.array(sorted(map(str, photos.rglob("*.jpg"))))


def test_it_gives_what_embed_gives(paths: np.ndarray, tiny: BackboneFile) -> None:
    expected = Backbone.load(tiny.path).embed(list(paths))
    extractor = FeatureExtractor(str(tiny.path))
    for given in (paths, list(paths), paths[:, None], pd.DataFrame({"path": paths}), pd.Series(paths)):
        np.testing.assert_allclose(extractor.fit_transform(given), expected, atol=1e-5)
    unit = FeatureExtractor(str(tiny.path), normalize=True).fit_transform(paths)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_it_is_a_scikit_learn_estimator(paths: np.ndarray, tiny: BackboneFile) -> None:
    extractor = FeatureExtractor(str(tiny.path), batch_size=3)
    assert extractor.get_params() == {
        "backbone": str(tiny.path), "device": "auto", "batch_size": 3, "normalize": False,
    }  # fmt: skip
    assert clone(extractor).set_params(normalize=True).normalize
    assert list(extractor.fit(paths).get_feature_names_out()) == [f"feature{i}" for i in range(8)]
    frame = FeatureExtractor(str(tiny.path)).set_output(transform="pandas").fit_transform(paths)
    assert list(frame.columns) == [f"feature{i}" for i in range(8)]
    copied = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(copied.transform(paths[:3]), extractor.transform(paths[:3]))
    with pytest.raises(InputError, match="takes one column of pictures"):
        extractor.transform(np.array([["a", "b"]]))


def test_it_works_in_a_pipeline_and_a_grid_search_over_backbones(
    paths: np.ndarray, tiny: BackboneFile, tmp_path: Path
) -> None:
    write_backbone(tiny_model(scale=2.0), tmp_path / "other.onnx")
    labels = np.array([Path(path).parent.name for path in paths])
    pipeline = make_pipeline(FeatureExtractor(), LogisticRegression())
    backbones = [str(tiny.path), str(tmp_path / "other.onnx")]
    search = GridSearchCV(pipeline, {"featureextractor__backbone": backbones}, cv=2, error_score="raise")
    search.fit(paths, labels)
    assert search.best_params_["featureextractor__backbone"] in backbones
    assert (search.predict(paths) == labels).mean() == search.score(paths, labels)


def test_a_column_of_texts(tiny_texts: BackboneFile) -> None:
    texts = ["good film", "bad", "good, and again"]
    expected = Backbone.load(tiny_texts.path).embed(texts)
    extractor = FeatureExtractor(str(tiny_texts.path))
    for given in (
        texts,
        np.array(texts),
        np.array(texts, object)[:, None],
        pd.Series(texts),
        pd.Series(texts, dtype="string"),
        pd.DataFrame({"text": texts}),
    ):
        np.testing.assert_allclose(extractor.fit_transform(given), expected, atol=1e-6)
    copied = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(copied.transform(texts[:1]), extractor.transform(texts[:1]))
    pipeline = make_pipeline(FeatureExtractor(str(tiny_texts.path), normalize=True), LogisticRegression())
    assert list(pipeline.fit(texts, [1, 0, 1]).predict(["good film"])) == [1]


def test_texts_for_a_backbone_of_pictures_are_told_from_paths(paths: np.ndarray, tiny: BackboneFile) -> None:
    extractor = FeatureExtractor(str(tiny.path)).fit(None)
    said = (
        r'None of the 2 inputs is the path of a file, and tiny takes pictures: for texts give `backbone="minilm_l6"`\.'
    )
    with pytest.raises(InputError, match=said):
        extractor.transform(["good film", "bad" * 5000])
    with pytest.raises(DecodeError, match=r"gone\.jpg: "):
        extractor.transform([paths[0], "gone.jpg"])
    assert extractor.transform([]).shape == (0, 8)


def test_what_is_no_column_of_texts(tiny_texts: BackboneFile) -> None:
    extractor = FeatureExtractor(str(tiny_texts.path)).fit(None)
    with pytest.raises(InputError, match="takes a list of texts"):
        extractor.transform("a text")
    with pytest.raises(InputError, match=r"takes one column of texts. Got an array of shape \[1, 2\]"):
        extractor.transform(np.array([["a", "b"]]))
    with pytest.raises(InputError, match="Got float"):
        extractor.transform(pd.Series(["a", float("nan")], dtype=object))
    with pytest.raises(DecodeError, match="text 1: The text is empty"):
        extractor.transform(["a", ""])
