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
    from fxengine.reduce.fit import pca

    pca(store.path, folder / "pca.onnx", dim=2)
    assert Pca.load(folder / "pca.onnx").transform(vectors).shape == (12, 2)


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
        assert getattr(fxengine, name) is globals()[name], f"fxengine.{name} is {getattr(fxengine, name)!r}"
    net = folder / "tiny.onnx"
    write_backbone(tiny_model(), net)
    use_a_store(folder, net)
    make_every_mistake(folder, net)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.write("\n".join(name for name in sys.modules if name.partition(".")[0] == "fxengine"))
