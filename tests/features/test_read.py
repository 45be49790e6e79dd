from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.cache import kind_folder
from fxengine.features.blocks import as_matrix, store_blocks
from fxengine.features.mapped import KIND, matrix_name, store_stamp
from fxengine.features.parts import list_parts
from tests.conftest import make_photo


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    """21 rows, one failed, in parts of 6, with ids that lie across parts."""
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=6, dtype="float32")
    make_photo(photos / "cats" / "000.jpg", 500)
    extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=6, dtype="float32")
    return tmp_path / "s"


def test_batches_hold_the_same_rows_as_the_table(store: Path) -> None:
    opened = FeatureStore.open(store)
    whole = opened.table()
    for size in (1, 4, 100):
        tables = list(opened.batches(size))
        assert max(len(t.keys) for t in tables) <= size
        keys = [key for t in tables for key in t.keys]
        assert sorted(keys, key=str.encode) == whole.keys
        vectors = np.concatenate([t.vectors for t in tables])
        order = [whole.keys.index(key) for key in keys]
        np.testing.assert_array_equal(vectors, whole.vectors[order])
        assert [n for t in tables for n in t.rows.tolist()] == whole.rows[order].tolist()


def test_selection_keeps_ids_labels_and_vectors_together(store: Path) -> None:
    opened = FeatureStore.open(store)
    place = {key: i for i, key in enumerate(opened.ids())}
    cats = opened.select(label="cats")
    assert set(cats.labels()) == {"cats"}
    np.testing.assert_array_equal(cats.vectors(), opened.vectors()[[place[k] for k in cats.ids()]])
    wanted = ["dogs/04.jpg", "cats/000.jpg", "cats/19.jpg"]
    chosen = opened.select(ids=wanted)
    assert chosen.ids() == wanted
    for mmap in (False, True):
        np.testing.assert_array_equal(chosen.vectors(mmap=mmap), opened.vectors()[[place[k] for k in wanted]])
    assert chosen.table().keys == wanted


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"label": "birds"}, r"No row of .* has the label 'birds'. There is: 'cats', 'dogs'."),
        ({"split": "train"}, r"has the split 'train'. There is: none."),
        ({"ids": ["cats/01.jpg", "nope"]}, r"has no vector for 'nope' \(1 such ids\)."),
        ({"ids": ["cats/bad.jpg"]}, r"has no vector for 'cats/bad.jpg'"),
    ],
)
def test_a_selection_of_nothing_says_what_there_is(store: Path, choice: dict[str, object], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(store).select(**choice)  # type: ignore[arg-type]


def test_normalised_and_converted_vectors(store: Path) -> None:
    opened = FeatureStore.open(store)
    raw = opened.vectors()
    unit = opened.vectors(normalize=True)
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    assert opened.vectors(dtype="float64").dtype == np.float64
    assert opened.vectors(normalize=True, dtype="float16").dtype == np.float16


def matrix_copy(store: Path) -> Path:
    return kind_folder(KIND) / matrix_name(store, store_stamp(list_parts(store)))


def test_the_mapped_copy_follows_the_parts(store: Path, photos: Path, tiny: BackboneFile) -> None:
    opened = FeatureStore.open(store)
    before, first = opened.vectors(), matrix_copy(store)
    np.testing.assert_array_equal(opened.vectors(mmap=True), opened.vectors())
    assert first.exists()
    assert not opened.vectors(mmap=True).flags.writeable
    make_photo(photos / "cats" / "03.jpg", 501)
    extract(photos, store, backbone=tiny.path, dtype="float32")
    assert matrix_copy(store) != first
    again = FeatureStore.open(store)
    np.testing.assert_array_equal(again.vectors(mmap=True), again.vectors())
    assert (first.exists(), matrix_copy(store).exists()) == (False, True)
    assert not np.array_equal(again.vectors(), before)


def test_blocks_out_of_the_copy_are_all_rows_also_of_a_selection(store: Path) -> None:
    opened = FeatureStore.open(store)
    for each in (opened, opened.select(label="cats")):
        blocks = [(numbers.copy(), vectors.copy()) for numbers, vectors in each.matrix_blocks(4)]
        assert [len(rows) for rows, _ in blocks] == [4, 4, 4, 4, 4, 1]
        np.testing.assert_array_equal(np.concatenate([rows for rows, _ in blocks]), opened.table().rows)
        np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in blocks]), opened.vectors())


def test_a_copy_that_the_disk_has_no_room_for_is_not_begun(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(store)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=100))
    opened = FeatureStore.open(store)
    with pytest.raises(OSError, match="MB are needed"):
        opened.matrix_blocks(4)
    assert not matrix_copy(store).exists()
    np.testing.assert_array_equal(opened.vectors(mmap=True), opened.vectors())
    rows = opened.table().rows
    for unit in (False, True):  # who reads often reads the parts then
        size = len(rows), opened.provenance.dim
        often, seldom = (as_matrix(store_blocks(opened, rows, unit=unit, often=o), *size) for o in (True, False))
        np.testing.assert_array_equal(often, seldom)


def test_a_store_that_was_rewritten_since_is_not_read_out_of_line(
    store: Path, photos: Path, tiny: BackboneFile
) -> None:
    opened = FeatureStore.open(store)
    assert len(opened.ids()) == 21
    (photos / "cats" / "01.jpg").unlink()
    extract(photos, store, backbone=tiny.path, dtype="float32", prune=True)
    for read in (opened.vectors, lambda: opened.vectors(mmap=True), lambda: list(opened.batches())):
        with pytest.raises(StoreError, match="was changed since it was opened: open it again"):
            read()


def test_pandas_and_duckdb_read_a_part_as_it_is(store: Path) -> None:
    opened = FeatureStore.open(store)
    expected = dict(zip(opened.ids(), opened.vectors(), strict=True))
    frame = pd.concat([pd.read_parquet(path) for path in list_parts(store)])
    assert len(frame) == 22
    for key, code, vector in zip(frame["id"], frame["error_code"], frame["feature"], strict=True):
        if key == "cats/bad.jpg":
            assert (code, vector) == ("empty", None)
        else:
            np.testing.assert_array_equal(vector, expected[key])
    rows = duckdb.execute(f"select id, feature from '{store}/part-*.parquet' where error_code is null").fetchall()
    assert len(rows) == 21
    for key, vector in rows:
        np.testing.assert_array_equal(np.float32(vector), expected[key])
    nearest = duckdb.execute(
        f"with fine as materialized (from '{store}/part-*.parquet' where error_code is null) "
        "select b.id from fine a, fine b where a.id = 'cats/03.jpg' "
        "order by list_cosine_similarity(a.feature, b.feature) desc limit 2"
    ).fetchall()
    assert nearest[0] == ("cats/03.jpg",)


def test_duckdb_reads_float16_too(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "half", backbone=tiny.path)
    opened = FeatureStore.open(tmp_path / "half")
    rows = dict(duckdb.execute(f"select id, feature from '{tmp_path}/half/part-*.parquet'").fetchall())
    for key, vector in zip(opened.ids(), opened.vectors(), strict=True):
        np.testing.assert_array_equal(np.float16(rows[key]), vector)


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is no feature store: it has no part-\*.parquet"):
        FeatureStore.open(tmp_path)
    with pytest.raises(StoreError, match="is no feature store"):
        FeatureStore.open(tmp_path / "nowhere")
