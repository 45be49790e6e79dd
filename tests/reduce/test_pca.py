from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from fxengine.errors import InputError
from fxengine.reduce.pca import Pca, PcaFacts, components_for, principal_components


def rows(n: int = 400, dim: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + 3


def scatter(x: np.ndarray) -> np.ndarray:
    centred: np.ndarray = x - x.mean(0)
    return np.asarray(centred.T @ centred)


def test_variances_and_components_are_scikit_learns() -> None:
    x = rows()
    variances, components = principal_components(scatter(x), len(x))
    reference = PCA(svd_solver="full").fit(x)
    np.testing.assert_allclose(variances, reference.explained_variance_, rtol=1e-9)
    signs = np.sign((components * reference.components_).sum(1))[:, None]
    np.testing.assert_allclose(components, reference.components_ * signs, atol=1e-7)


def test_equal_variances_are_compared_by_their_subspace() -> None:
    rng = np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    matrix = basis @ np.diag([9.0, 4, 4, 4, 1, 1]) @ basis.T
    _, components = principal_components(matrix, 2)
    for group in (slice(0, 1), slice(1, 4), slice(4, 6)):
        kept = components[group]
        np.testing.assert_allclose(kept.T @ kept, basis[:, group] @ basis[:, group].T, atol=1e-8)


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
