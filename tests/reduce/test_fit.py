from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones import load_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.pipeline.embed import Backbone
from fxengine.probing.probe import probe
from fxengine.reduce.fit import fit_pca, pca
from fxengine.repair.verify import verify
from fxengine.retrieval.search import search
from tests.conftest import make_photo
from tests.stores import write_store


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    extract(photos, tmp_path / "store", backbone=tiny.path, dtype="float32", part_rows=7)
    return tmp_path / "store"


def test_the_variances_are_scikit_learns(store: Path) -> None:
    vectors = FeatureStore.open(store).vectors().astype(np.float64)
    made, variances = fit_pca(FeatureStore.open(store), dim=3)
    reference = PCA(svd_solver="full").fit(vectors)
    np.testing.assert_allclose(variances, reference.explained_variance_, rtol=1e-5)
    wanted = reference.transform(vectors)[:, :3]
    found = made.transform(vectors)
    np.testing.assert_allclose(found * np.sign((found * wanted).sum(0)), wanted, atol=1e-4)


def test_a_share_of_the_variance_chooses_the_size(store: Path) -> None:
    vectors = FeatureStore.open(store).vectors().astype(np.float64)
    made, _ = fit_pca(FeatureStore.open(store), variance=0.9)
    assert len(made.components) == PCA(0.9, svd_solver="full").fit(vectors).n_components_


def test_a_reduced_store_is_one_like_any_other(store: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract(photos, store, backbone=FeatureStore.open(store).provenance.source, dtype="float32")
    report = pca(store, tmp_path / "pca.onnx", dim=5, reduced=tmp_path / "reduced")
    old, reduced = FeatureStore.open(store), FeatureStore.open(tmp_path / "reduced")
    assert reduced.provenance.space == report.space != old.provenance.space
    assert (reduced.provenance.dim, reduced.ids(), reduced.labels()) == (5, old.ids(), old.labels())
    assert reduced.errors() == old.errors()
    np.testing.assert_allclose(reduced.vectors(), report.pca.transform(old.vectors()), atol=1e-5)
    assert verify(tmp_path / "reduced", sample=20).fine
    net = Backbone.for_store(reduced.provenance)
    key = "cats/03.jpg"
    np.testing.assert_allclose(net.embed([photos / key])[0], reduced.vectors()[reduced.ids().index(key)], atol=1e-4)
    assert search(tmp_path / "reduced", photos / key, k=1).answers[0].neighbours[0].id == key
    assert probe(tmp_path / "reduced").rows == 20
    make_photo(photos / "dogs" / "new.jpg", 99)
    assert (
        extract(photos, tmp_path / "reduced", backbone=f"pca:{tmp_path / 'pca.onnx'}", dtype="float32").extracted == 1
    )


def test_what_a_reduced_store_cannot_hold_is_a_row_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = np.full((60, 40), 20_000.0) * rng.uniform(0.5, 3, (60, 1)) + rng.normal(0, 10, (60, 40))
    store = write_store(tmp_path / "s", vectors, failed=(7,))
    monkeypatch.setattr("fxengine.reduce.fit.load_backbone", lambda _: SimpleNamespace(fingerprint="r" * 64))
    report = pca(store.path, tmp_path / "p.onnx", dim=3, reduced=tmp_path / "r")
    wanted = report.pca.transform(store.vectors(dtype="float32"))
    too_large = np.abs(wanted).max(axis=1) > np.finfo(np.float16).max
    assert 0 < report.failed == too_large.sum() < 59
    made = FeatureStore.open(tmp_path / "r")
    np.testing.assert_array_equal(made.vectors(), wanted[~too_large].astype(np.float16))
    assert made.error_counts() == {"bad_feature": report.failed, "corrupt": 1}
    said = {each["id"]: each["error"] for each in made.errors() if each["error_code"] == "bad_feature"}
    assert sorted(said) == [key for key, large in zip(store.ids(), too_large, strict=True) if large]
    assert all("is too large for float16. Extract with `dtype` float32." in why for why in said.values())


def test_a_further_layer_is_reduced(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "s", backbone=tiny.path, dtype="float32", layers=("relu", "features"))
    report = pca(tmp_path / "s", tmp_path / "pca.onnx", dim=2, layer="relu", reduced=tmp_path / "r")
    reduced = FeatureStore.open(tmp_path / "r")
    wanted = report.pca.transform(FeatureStore.open(tmp_path / "s").vectors(layer="relu"))
    np.testing.assert_allclose(reduced.vectors(), wanted, atol=1e-5)
    found = Backbone.for_store(reduced.provenance).embed([photos / reduced.ids()[0]])
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-4)


def test_a_reduction_of_a_reduction(store: Path, photos: Path, tmp_path: Path) -> None:
    pca(store, tmp_path / "a.onnx", dim=6, reduced=tmp_path / "a")
    pca(tmp_path / "a", tmp_path / "b.onnx", dim=2, reduced=tmp_path / "b")
    twice = FeatureStore.open(tmp_path / "b")
    net = load_backbone(f"pca:{tmp_path / 'b.onnx'}")
    assert (net.fingerprint, net.facts.dim) == (twice.provenance.space, 2)
    np.testing.assert_allclose(
        Backbone.load(net.path).embed([photos / twice.ids()[0]])[0], twice.vectors()[0], atol=1e-4
    )


def test_what_cannot_be_reduced(store: Path, tmp_path: Path, photos: Path, tiny: BackboneFile) -> None:
    out = tmp_path / "pca.onnx"
    with pytest.raises(InputError, match="either `dim` or `variance`"):
        pca(store, out)
    with pytest.raises(InputError, match=r"`variance` must be a number above 0 and at most 1\. Got 2"):
        pca(store, out, variance=2)
    with pytest.raises(InputError, match=r"`dim` must be between 1 and 8 \(20 vectors of 8 numbers\)\. Got 9"):
        pca(store, out, dim=9)
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        pca(store, tmp_path / "pca.npz", dim=2)
    with pytest.raises(InputError, match=r"is not empty: give a new folder"):
        pca(store, out, dim=2, reduced=photos)
    extract(photos, tmp_path / "one", backbone=tiny.path, limit=1)
    with pytest.raises(StoreError, match="has 1 vectors; principal components need at least two"):
        pca(tmp_path / "one", out, dim=1)
    with pytest.raises(StoreError, match="The store has no layer 'x'"):
        pca(store, out, dim=2, layer="x")
    assert not out.exists()
