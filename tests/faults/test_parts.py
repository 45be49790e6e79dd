"""Parts that are damaged or foreign: noticed, named, and mended by `verify --repair`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones import cache
from fxengine.backbones.spec import BackboneFile
from fxengine.features import parts
from fxengine.features.parts import list_parts
from fxengine.features.schema import FEATURE, METADATA_KEY
from fxengine.repair.verify import verify
from tests.conftest import make_photo, tiny_model
from tests.pipeline.test_extract import rows, same


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    cache.keep(tiny_model(), "tiny-faults")
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=6)
    return tmp_path / "s"


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_in_vectors(path: Path) -> None:
    column = pq.ParquetFile(path).metadata.row_group(0).column(11)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 0x10
    path.write_bytes(data)


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), path)


DAMAGES = [cut_short, empty, flip_in_vectors, foreign]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_by_readers_and_by_the_next_run(
    store: Path, photos: Path, tiny: BackboneFile, damage: Callable[[Path], None]
) -> None:
    damage(list_parts(store)[1])
    with pytest.raises(StoreError, match=r"part-000001.parquet (is damaged|was not written by fxengine)"):
        FeatureStore.open(store).vectors()
    report = verify(store)
    assert list(report.bad_parts) == ["part-000001.parquet"]
    assert not report.fine
    assert report.rows == 21 - 6


@pytest.mark.parametrize("damage", DAMAGES)
def test_repair_computes_only_the_bad_part(
    store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile, damage: Callable[[Path], None]
) -> None:
    before = rows(store)
    good = {p.name: p.read_bytes() for p in list_parts(store) if p.name != "part-000001.parquet"}
    damage(list_parts(store)[1])
    report = verify(store, repair=True)
    assert report.repair is not None
    assert report.repair.extracted == 5  # the sixth row of that part is a file that does not decode
    assert verify(store, sample=100).fine
    same(before, rows(store), but=() if damage is flip_in_vectors else ("row",))
    assert report.lost == ([] if damage is flip_in_vectors else ["part-000001.parquet"])
    if report.lost:
        good.popitem()  # the last good part was rewritten to skip the row numbers that were lost
    for name, content in good.items():
        assert (store / name).read_bytes() == content
    numbers = [row["row"] for row in rows(store).values()]
    assert len(set(numbers)) == len(numbers)


def test_a_sound_store_is_fine_and_its_sample_agrees(store: Path) -> None:
    report = verify(store, sample=100)
    assert report.fine
    assert (report.parts, report.rows, report.sampled, report.bad_parts, report.wrong) == (4, 21, 20, {}, {})


def test_a_vector_in_the_wrong_row_is_found_and_mended(store: Path) -> None:
    before = rows(store)
    path = list_parts(store)[0]
    table = parts.read_part(path)
    vectors = np.concatenate([parts.vector_matrix(c, 8) for c in table[FEATURE].chunks])
    missing = np.array([code is not None for code in table["error_code"].to_pylist()])
    swapped = parts.vector_array(vectors[[1, 0, *range(2, len(vectors))]], missing, table[FEATURE].type)
    parts.write_part(table.set_column(11, FEATURE, swapped), path, replace=True)
    report = verify(store, sample=100)
    assert sorted(report.wrong) == ["cats/01.jpg", "cats/03.jpg"]
    assert "Its vector is not that of its input (cosine " in report.wrong["cats/01.jpg"]
    mended = verify(store, sample=100, repair=True)
    assert mended.repair is not None
    assert mended.repair.extracted == 2
    same(before, rows(store))


def test_changed_and_missing_inputs_are_not_the_stores_fault(store: Path, photos: Path) -> None:
    make_photo(photos / "cats" / "01.jpg", 900)
    (photos / "dogs" / "00.jpg").unlink()
    report = verify(store, sample=100)
    assert report.fine
    assert sorted(report.changed) == ["cats/01.jpg", "dogs/00.jpg"]


def test_two_stores_mixed_in_one_folder_are_noticed(store: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(tiny_model(scale=2.0).SerializeToString())
    extract(photos, tmp_path / "other", backbone=tmp_path / "other.onnx")
    (tmp_path / "other" / "part-000000.parquet").rename(store / "part-000009.parquet")
    with pytest.raises(StoreError, match="two stores are mixed"):
        FeatureStore.open(store)
    assert "is of another feature space" in verify(store).bad_parts["part-000009.parquet"]


def test_an_interrupted_rename_shows_one_row_and_is_tidied_up(store: Path, photos: Path, tiny: BackboneFile) -> None:
    before = rows(store)
    original = {p: p.read_bytes() for p in list_parts(store)}
    (photos / "cats" / "01.jpg").rename(photos / "cats" / "00-new.jpg")
    extract(photos, store, backbone=tiny.path)
    after = rows(store)
    old_part = next(iter(original))
    old_part.write_bytes(original[old_part])  # as if the run had died before the old row went
    same(after, rows(store))
    assert extract(photos, store, backbone=tiny.path).extracted == 0
    same(after, rows(store))
    assert "cats/01.jpg" not in parts.read_part(old_part)["id"].to_pylist()
    assert after["cats/00-new.jpg"]["row"] == before["cats/01.jpg"]["row"]


def test_repair_changes_nothing_where_a_foreign_part_lies(store: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(tiny_model(scale=2.0).SerializeToString())
    extract(photos, tmp_path / "other", backbone=tmp_path / "other.onnx")
    (tmp_path / "other" / "part-000000.parquet").rename(store / "part-000009.parquet")
    before = {p.name: p.read_bytes() for p in list_parts(store)}
    with pytest.raises(InputError, match=r"part-000009.parquet is a part of another store: move it out"):
        verify(store, repair=True)
    assert {p.name: p.read_bytes() for p in list_parts(store)} == before


def test_a_lost_part_gives_no_row_number_a_second_time(store: Path) -> None:
    before = {row["row"] for row in rows(store).values()}
    cut_short(list_parts(store)[-1])
    assert verify(store, repair=True).lost == ["part-000003.parquet"]
    after = {row["row"] for row in rows(store).values()}
    assert min(after - before) > max(before)


@pytest.mark.parametrize("facts", [{"dim": 7}, {"dtype": "float32"}, {"layers": {"x": 4}}])
def test_a_first_part_that_contradicts_itself_is_the_bad_one(store: Path, facts: dict[str, object]) -> None:
    before = rows(store)
    path = list_parts(store)[0]
    table = parts.read_part(path)
    changed = replace(parts.read_provenance(path), **facts)  # type: ignore[arg-type]
    pq.write_table(table.replace_schema_metadata(changed.to_metadata()), path)
    assert list(verify(store).bad_parts) == [path.name]
    verify(store, repair=True)
    assert verify(store, sample=100).fine
    same(before, rows(store), but=("row",))


@pytest.mark.parametrize("facts", [{"format": 99}, {"charm": 3}])
def test_a_part_of_a_newer_version_is_no_damage(store: Path, facts: dict[str, object]) -> None:
    path = list_parts(store)[1]
    table = parts.read_part(path)
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps({**metadata, **facts})}), path)
    before = {p.name: p.read_bytes() for p in store.iterdir() if p.is_file()}
    assert "update fxengine" in verify(store).bad_parts[path.name]
    with pytest.raises(InputError, match="update fxengine, or extract into a new folder"):
        verify(store, repair=True)
    assert {name: (store / name).read_bytes() for name in before} == before


def test_a_store_of_one_part_that_contradicts_itself_is_mended(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    cache.keep(tiny_model(), "tiny-one-part")
    extract(photos, tmp_path / "one", backbone=tiny.path)
    before = rows(tmp_path / "one")
    (path,) = list_parts(tmp_path / "one")
    table = parts.read_part(path)
    at = table.schema.get_field_index("width")
    pq.write_table(table.set_column(at, "width", table["width"].cast(pa.int64())), path)
    assert "'width' is of type int64, not int32" in verify(tmp_path / "one").bad_parts[path.name]
    verify(tmp_path / "one", repair=True)
    assert verify(tmp_path / "one", sample=50).fine
    same(before, rows(tmp_path / "one"), but=("row",))


def test_a_sample_of_less_than_nothing_is_refused(store: Path) -> None:
    with pytest.raises(InputError, match=r"`sample` must be at least 0\. Got -1"):
        verify(store, sample=-1)
