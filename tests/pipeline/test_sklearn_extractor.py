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
