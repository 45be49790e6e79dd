from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fxengine import FeatureStore, InputError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.features.dump import dump


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=7)
    return tmp_path / "s"


def expected(store: Path, normalize: bool) -> dict[str, np.ndarray]:
    opened = FeatureStore.open(store)
    vectors = opened.vectors(normalize=normalize, dtype="float32")
    return dict(zip(opened.ids(), vectors, strict=True))


@pytest.mark.parametrize("normalize", [False, True])
def test_npy_and_its_ids(store: Path, tmp_path: Path, normalize: bool) -> None:
    files = dump(store, tmp_path / "x.npy", normalize=normalize).files
    assert [file.name for file in files] == ["x.npy", "x.ids.csv"]
    vectors = np.load(files[0])
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    assert (vectors.dtype, vectors.shape) == (np.float32, (20, 8))
    for row, vector in zip(rows, vectors, strict=True):
        np.testing.assert_allclose(vector, expected(store, normalize)[row["id"]], atol=1e-6)
        assert row["label"] == row["id"].split("/")[0]


def test_parquet_is_a_list_column_called_embedding(store: Path, tmp_path: Path) -> None:
    (file,) = dump(store, tmp_path / "x.parquet").files
    table = pq.read_table(file)
    assert table.column_names == ["row", "id", "label", "split", "embedding"]
    assert str(table.schema.field("embedding").type) == "list<element: float>"
    for row in table.to_pylist():
        np.testing.assert_allclose(row["embedding"], expected(store, False)[row["id"]], atol=1e-6)


def test_csv_has_a_column_for_each_number(store: Path, tmp_path: Path) -> None:
    (file,) = dump(store, tmp_path / "x.csv").files
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 20
    for row in rows:
        found = np.array([float(row[f"f{i}"]) for i in range(8)])
        np.testing.assert_allclose(found, expected(store, False)[row["id"]], atol=1e-5)


def test_another_suffix_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in .npy, .csv, .parquet"):
        dump(store, tmp_path / "x.txt")
    assert not list(tmp_path.glob("*x.txt*"))
