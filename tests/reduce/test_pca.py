from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from sklearn.decomposition import PCA

from fxengine.backbones import load_backbone
from fxengine.backbones.pca_facts import PcaFacts
from fxengine.backbones.spec import PCA_METADATA_KEY, BackboneFile
from fxengine.errors import InputError
from fxengine.features.moments import principal_components
from fxengine.reduce.pca import Pca, components_for


def rows(n: int = 400, dim: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + 3


def scatter(x: np.ndarray) -> np.ndarray:
    centred: np.ndarray = x - x.mean(0)
    return np.asarray(centred.T @ centred)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 1.0), st.integers(0, 1000))
def test_the_share_is_reached_by_no_fewer_components(share: float, seed: int) -> None:
    variances = np.sort(np.random.default_rng(seed).gamma(1, 1, 12))[::-1]
    k = components_for(variances, share)
    shares = np.cumsum(variances) / variances.sum()
    assert shares[k - 1] >= share - 1e-9
    assert k == 1 or shares[k - 2] < share


@pytest.mark.parametrize("whiten", [False, True])
def test_the_file_transforms_as_scikit_learn_does(tmp_path: Path, whiten: bool) -> None:
    x = rows()
    variances, components = principal_components(scatter(x), len(x))
    facts = PcaFacts("s" * 64, "tiny", None, len(x), whiten, tuple(variances[:5].tolist()), float(variances.sum()))
    scale = np.sqrt(variances[:5])[:, None] if whiten else 1.0
    made = Pca(x.mean(0), components[:5] / scale, facts)
    made.save(tmp_path / "pca.onnx")
    loaded = Pca.load(tmp_path / "pca.onnx")
    assert loaded.facts == facts
    reference = PCA(5, whiten=whiten, svd_solver="full").fit(x)
    np.testing.assert_allclose(facts.explained_variance_ratio, reference.explained_variance_ratio_, rtol=1e-9)
    wanted = reference.transform(x)
    plain = ort.InferenceSession(str(tmp_path / "pca.onnx"), providers=["CPUExecutionProvider"])
    found = plain.run(None, {"features": x.astype(np.float32)})[0]
    for result in (loaded.transform(x), found):
        signs = np.sign((result * wanted).sum(0))
        np.testing.assert_allclose(result * signs, wanted, atol=1e-4 * np.abs(wanted).max())


def test_what_is_no_transform_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no transform"):
        Pca.load(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no")
    with pytest.raises(InputError, match="is not a readable ONNX file"):
        Pca.load(tmp_path / "bad.onnx")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 4.5}, r"pca.onnx is damaged: 'rows' cannot be 4.5. Update fxengine, or fit it again"),
        ({"explained_variance": 1.0}, r"'explained_variance' cannot be 1.0"),
        ({"scaled": True}, r"says 'scaled' of itself, which this version does not know"),
        ({"format": 2}, r"pca.onnx is of another format"),
        ({"rows": 1}, r"pca.onnx is damaged: 'rows' is out of range. Update fxengine, or fit it again"),
        ({"total_variance": 0}, r"'total_variance' is out of range"),
        ({"total_variance": 10**400}, r"'total_variance' is out of range"),
        ({"explained_variance": []}, r"'explained_variance' is not one number for each component, the largest first"),
        ({"explained_variance": [1.0, 2.0]}, r"'explained_variance' is not one number for each component"),
        ({"explained_variance": [1.0, -1.0]}, r"'explained_variance' is not one number for each component"),
        ({"explained_variance": [1.0]}, r"is damaged: it has 2 components, not one for each variance that it says"),
    ],
)
def test_what_a_transform_says_of_itself_is_checked(change: dict[str, object], says: str, tmp_path: Path) -> None:
    facts = PcaFacts("s" * 64, "tiny", None, 5, False, (2.0, 1.0), 4.0)
    Pca(np.zeros(3), np.eye(3)[:2], facts).save(tmp_path / "pca.onnx")
    model = onnx.load(tmp_path / "pca.onnx")
    values = json.loads(model.metadata_props[0].value)
    helper.set_model_props(model, {PCA_METADATA_KEY: json.dumps({**values, **change})})
    onnx.save(model, tmp_path / "pca.onnx")
    with pytest.raises(InputError, match=says):
        Pca.load(tmp_path / "pca.onnx")


def test_a_graph_that_is_no_transform_is_refused(tmp_path: Path) -> None:
    facts = PcaFacts("s" * 64, "tiny", None, 5, False, (2.0, 1.0), 4.0)
    Pca(np.zeros(3), np.eye(3)[:2], facts).save(tmp_path / "pca.onnx")
    model = onnx.load(tmp_path / "pca.onnx")
    model.graph.node[0].op_type = "Div"
    onnx.save(model, tmp_path / "divided.onnx")
    with pytest.raises(InputError, match=r"divided.onnx is damaged: it is no product of centred vectors"):
        Pca.load(tmp_path / "divided.onnx")
    model.graph.node[0].op_type = "Loop"
    onnx.save(model, tmp_path / "loop.onnx")
    with pytest.raises(
        InputError, match=r"loop.onnx is damaged, or no file that fxengine wrote: it has the operator 'Lo"
    ):
        Pca.load(tmp_path / "loop.onnx")


@pytest.mark.parametrize(("layer", "dim"), [("gone", 3), (None, 9)], ids=str)
def test_a_transform_of_what_its_backbone_does_not_give(
    layer: str | None, dim: int, tiny: BackboneFile, tmp_path: Path
) -> None:
    load_backbone(tiny.path)
    facts = PcaFacts(tiny.fingerprint, str(tiny.path), layer, 5, False, (2.0, 1.0), 4.0)
    Pca(np.zeros(dim), np.eye(dim)[:2], facts).save(tmp_path / "pca.onnx")
    says = f"pca.onnx takes {dim} numbers of the layer '{layer or 'features'}', which tiny does not give. Fit it again"
    with pytest.raises(InputError, match=says):
        load_backbone(f"pca:{tmp_path / 'pca.onnx'}")


def test_a_transform_that_is_none_by_its_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.onnx").open("wb") as stream:
        stream.truncate(1 << 31)
    with pytest.raises(InputError, match=r"huge\.onnx is over 2 GB, more than one ONNX file holds: it is no transform"):
        load_backbone(f"pca:{tmp_path / 'huge.onnx'}")
