"""Imports every module of the package, then uses every public name: `python -m tests.uses_public_names FOLDER`.

A module can hide a name of its package: after `import fxengine.extract`, `fxengine.extract` is that module.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import fxengine
from fxengine import (
    Backbone,
    DecodeError,
    DeviceError,
    FeatureExtractor,
    FeatureStore,
    FeatureTable,
    FxError,
    Index,
    InputError,
    Pca,
    Probe,
    ProbeOptions,
    Progress,
    SearchResult,
    StoreError,
    StoreLocked,
    Summary,
    extract,
)
from fxengine.backbones.cache import write_backbone
from tests.conftest import make_photo, tiny_model
from tests.pairs import tiny_pair


def import_everything() -> None:
    for found in pkgutil.walk_packages(fxengine.__path__, "fxengine."):
        if found.name.split(".")[-2] != "children":  # those are run by path, by an interpreter that has Keras
            import_module(found.name)


def use_a_store(folder: Path, net: Path) -> None:
    for i in range(12):
        make_photo(folder / "photos" / ("cats" if i % 2 else "dogs") / f"{i:02d}.jpg", i)
    seen: list[Progress] = []
    summary = extract(folder / "photos", folder / "store", backbone=net, progress=seen.append)
    assert isinstance(summary, Summary)
    assert summary.extracted == seen[-1].done == 12
    assert isinstance(seen[-1], Progress)
    store = FeatureStore.open(folder / "store")
    table = store.table()
    assert isinstance(table, FeatureTable)
    assert table.labels == ["cats"] * 6 + ["dogs"] * 6
    found = Index.exact(store).search(table.vectors[3:4], 1)
    assert isinstance(found, SearchResult)
    assert found.ids == [[table.keys[3]]]
    probe = Probe.fit(store, options=ProbeOptions(folds=2))
    assert 0 <= probe.score.mean <= 1
    vectors = Backbone.load(net).embed([folder / "photos" / key for key in table.keys])
    np.testing.assert_allclose(FeatureExtractor(str(net)).fit_transform(np.array(
        [str(folder / "photos" / key) for key in table.keys])), vectors, atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(vectors, table.vectors, atol=5e-3)  # stored as float16
    fxengine.pca(store.path, folder / "pca.onnx", dim=2)
    assert Pca.load(folder / "pca.onnx").transform(vectors).shape == (12, 2)
    use_every_verb(folder, net)


def use_every_verb(folder: Path, net: Path) -> None:
    """Call what a user calls, with text for paths; `finetune` and `calibrate` take too long."""
    store, photos, head = str(folder / "store"), str(folder / "photos"), str(folder / "head.onnx")
    assert fxengine.probe(store, head, folds=2, near=2).output == head
    assert fxengine.predict(photos, model=head, backbone=str(net), output=str(folder / "p.csv")).count == 12
    assert len(fxengine.predict(store, model=head, top=1)) == 12
    _, text, _ = tiny_pair(folder)
    assert fxengine.zeroshot(str(text.path), str(folder / "zero.onnx"), classes=["cats", "dogs"]).texts == 2
    assert fxengine.compare(store, folds=2).rows == 12
    assert fxengine.mislabeled(store, folds=2, output=str(folder / "m.csv")).checked == 12
    assert fxengine.bundle(str(net), head, str(folder / "bundle.onnx")).agreement is not None
    found = fxengine.search(store, f"{photos}/cats/01.jpg", k=2, backbone=str(net), output=str(folder / "s.json"))
    assert found.answers[0].neighbours[0].id == "cats/01.jpg"
    assert fxengine.index(store).done == "built"
    assert fxengine.duplicates(store, output=str(folder / "d.parquet")).rows == 12
    drawn = fxengine.map(store, k=3, output=str(folder / "map.parquet"))
    assert len(drawn.table) == 12
    fxengine.write_page(found, str(folder / "s.html"))
    fxengine.write_page(drawn, str(folder / "map.png"))
    assert len(fxengine.cluster(store, 2, output=str(folder / "c.csv")).clusters) == 2
    assert fxengine.advise(store, target=0.01).enough
    assert fxengine.export(str(net), str(folder / "copy.onnx")).report.dim == 8
    assert len(fxengine.dump(store, str(folder / "v.npy")).files) == 2
    assert fxengine.verify(store).fine
    assert fxengine.info(head).facts["kind"] == "head"
    assert fxengine.info(str(net), layers=True).facts["layers"]
    assert fxengine.list_backbones().backbones[0]["name"] == "efficientnet_lite0"
    assert fxengine.doctor().findings
    (folder / "vectors.txt").write_text("good 1 0.5\nbad -1 0.5\n")
    assert fxengine.words(str(folder / "vectors.txt"), str(folder / "words")).added == 2
    assert fxengine.fit(photos, str(folder / "fit.onnx"), target=0.01, backbone=str(net)).reached


def make_every_mistake(folder: Path, net: Path) -> None:
    from fxengine.execute import open_session
    from fxengine.features.lock import locked

    with pytest.raises(InputError, match="There is no"):
        extract(folder / "nowhere", folder / "other", backbone=net)
    with pytest.raises(StoreError, match="no feature store"):
        FeatureStore.open(folder)
    with locked(folder / "store"), pytest.raises(StoreLocked, match="is being written to"):
        extract(folder / "photos", folder / "store", backbone=net)
    with pytest.raises(DecodeError, match="no image"):
        Backbone.load(net).embed([b"no picture"])
    with pytest.raises(DeviceError, match="not in bf16"):
        open_session(net, "cpu", precision="bf16", runtime="onnxruntime")
    assert all(issubclass(kind, FxError) for kind in (InputError, StoreError, StoreLocked, DecodeError, DeviceError))


def main(folder: Path) -> None:
    import_everything()
    for name in fxengine.__all__:
        defined = getattr(import_module(fxengine._PUBLIC[name]), name)
        assert getattr(fxengine, name) is defined, f"fxengine.{name} is {getattr(fxengine, name)!r}"
    net = folder / "tiny.onnx"
    write_backbone(tiny_model(), net)
    use_a_store(folder, net)
    make_every_mistake(folder, net)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.write("\n".join(name for name in sys.modules if name.partition(".")[0] == "fxengine"))
