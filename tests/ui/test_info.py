"""What `info` says of a file: what it is, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import fxengine
from fxengine import InputError
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.spec import METADATA_KEY, PCA_METADATA_KEY, BackboneFile
from fxengine.heads.file import METADATA_KEY as HEAD_METADATA_KEY
from fxengine.ui.info import info
from tests.stores import write_store


@pytest.fixture
def files(tmp_path: Path, tiny: BackboneFile) -> dict[str, Path]:
    """A file of each kind, by the key of what it says of itself."""
    x = np.random.default_rng(0).normal(size=(40, 6))
    store = write_store(tmp_path / "store", x, labels=["a", "b"] * 20).path
    fxengine.probe(store, output=tmp_path / "head.onnx")
    fxengine.pca(store, tmp_path / "pca.onnx", dim=2)
    return {METADATA_KEY: tiny.path, HEAD_METADATA_KEY: tmp_path / "head.onnx", PCA_METADATA_KEY: tmp_path / "pca.onnx"}


def test_a_pca_file_is_described(files: dict[str, Path]) -> None:
    path = files[PCA_METADATA_KEY]
    facts = info(path).to_dict()
    space = fxengine.Pca.load(path).facts.space
    assert (facts["kind"], facts["dim"], facts["components"], facts["rows"]) == ("pca", 6, 2, 40)
    assert (facts["space"], facts["layer"], facts["backbone"]) == (space, None, f"pca:{path}")
    assert facts["explained_variance"] == pytest.approx(fxengine.Pca.load(path).facts.explained_variance_ratio.sum())


@pytest.mark.parametrize("key", [METADATA_KEY, HEAD_METADATA_KEY, PCA_METADATA_KEY])
def test_a_damaged_file_is_told_by_its_own_reader(key: str, files: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(files[key])
    helper.set_model_props(model, {**metadata_of(model), key: '{"format": 99}'})
    onnx.save(model, tmp_path / "newer.onnx")
    with pytest.raises(InputError) as raised:
        info(tmp_path / "newer.onnx")
    assert "newer.onnx" in str(raised.value)
    assert "that fxengine wrote" not in str(raised.value)
    assert any(word in str(raised.value) for word in ("newer", "Update fxengine", "damaged"))


def test_what_is_none_of_them_is_told(tiny: BackboneFile, tmp_path: Path) -> None:
    model = onnx.load(tiny.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    (tmp_path / "text.onnx").write_text("no net")
    for name in ("plain.onnx", "text.onnx"):
        with pytest.raises(InputError, match=rf"{name} is no backbone, head or PCA file that fxengine wrote\."):
            info(tmp_path / name)
