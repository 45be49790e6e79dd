"""Row numbers: given once, also where the last part was deleted by hand; one that two rows hold is no rename."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.item import Item
from fxengine.features import parts, row_numbers
from fxengine.features.known import Known
from fxengine.features.parts import list_parts
from fxengine.features.row_numbers import note_next_row, noted_next_row
from fxengine.features.schema import MOST_ROWS
from fxengine.features.write import PartWriter
from fxengine.repair.verify import verify
from tests.conftest import make_photo
from tests.features.test_parts import provenance
from tests.pipeline.test_extract import rows
from tests.stores import write_store


def two(folder: Path, first: list[tuple[int, str, str]], second: list[tuple[int, str, str]]) -> FeatureStore:
    """Write two parts of (row, id, content hash)."""
    for number, part in enumerate((first, second)):
        numbers, ids, hashes = zip(*part, strict=True)
        store = write_store(folder, np.ones((len(part), 4)), rows=[*numbers], ids=[*ids], hashes=[*hashes], part=number)
    return store


def test_two_parts_that_hold_one_number_with_other_contents_are_both_named(tmp_path: Path) -> None:
    store = two(tmp_path, [(0, "a", "A"), (1, "b", "B")], [(1, "c", "C"), (2, "d", "D")])
    message = r"part-000000.parquet and .*part-000001.parquet both hold row 1, with different contents.*--repair"
    for read in (store.rows, store.ids, store.vectors, lambda: Known.read(list_parts(tmp_path))):
        with pytest.raises(StoreError, match=message):
            read()
    report = verify(tmp_path)
    assert report.bad_parts == {
        "part-000000.parquet": "Row number 1 with other contents stands in part-000001.parquet, too.",
        "part-000001.parquet": "Row number 1 with other contents stands in part-000000.parquet, too.",
    }
    assert (report.rows, report.doubled) == (4, ["part-000000.parquet", "part-000001.parquet"])


def test_a_part_of_another_space_is_told_from_a_clash(tmp_path: Path) -> None:
    write_store(tmp_path, np.ones((3, 4)))
    write_store(tmp_path / "other", np.zeros((3, 4)), space="t" * 64, hashes=["x", "y", "z"])
    (tmp_path / "other" / "part-000000.parquet").rename(tmp_path / "part-000001.parquet")
    with pytest.raises(StoreError, match=r"part-000001.parquet is of another feature space than part-000000.parquet"):
        Known.read(list_parts(tmp_path))


def test_a_rename_that_was_cut_off_is_no_clash(tmp_path: Path) -> None:
    store = two(tmp_path, [(0, "a", "A"), (1, "b", "B")], [(0, "new", "A")])
    assert store.ids() == ["b", "new"]
    assert Known.read(list_parts(tmp_path)).superseded == [(list_parts(tmp_path)[0], 0)]
    assert verify(tmp_path).fine


def test_a_copied_part_is_no_clash_whatever_failed_in_it(tmp_path: Path) -> None:
    write_store(tmp_path, np.ones((3, 4)), failed=(1,))
    (tmp_path / "part-000007.parquet").write_bytes((tmp_path / "part-000000.parquet").read_bytes())
    assert FeatureStore.open(tmp_path).ids() == ["000000", "000002"]
    assert len(Known.read(list_parts(tmp_path)).superseded) == 3
    assert verify(tmp_path).fine


def test_rows_without_a_hash_are_no_rename_of_each_other(tmp_path: Path) -> None:
    for number, key in enumerate("ab"):
        row = parts.Row(0, Item(key, "", -1, 0), None, None, None, "vanished", "The file is not there.")
        table = parts.part_table([row], {"feature": np.zeros((1, 4), np.float16)}, provenance())
        parts.write_part(table, parts.part_path(tmp_path, number))
    with pytest.raises(StoreError, match="both hold row 0"):
        Known.read(list_parts(tmp_path))


def test_a_part_that_holds_a_number_twice_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path, np.ones((3, 4)), rows=[0, 1, 1])
    for read in (store.rows, lambda: Known.read(list_parts(tmp_path))):
        with pytest.raises(StoreError, match=r"part-000000.parquet holds row 1 twice"):
            read()
    assert verify(tmp_path).bad_parts == {"part-000000.parquet": "Row number 1 stands twice."}


def test_new_numbers_are_given_until_no_two_rows_share_one(tmp_path: Path) -> None:
    two(tmp_path, [(0, "a", "A"), (1, "b", "B")], [(0, "c", "C"), (1, "d", "D")])
    write_store(tmp_path, np.ones((3, 4)), rows=[0, 1, 1], ids=["d", "e", "f"], hashes=["C", "E", "F"], part=2)
    row_numbers.renumber(list_parts(tmp_path))
    tables = [parts.read_part(path, ["row", "id"]).to_pydict() for path in list_parts(tmp_path)]
    assert [table["id"] for table in tables] == [["a", "b"], ["c", "d"], ["d", "e", "f"]]
    numbers = [row for table in tables for row in table["row"]]
    assert numbers[:2] == [0, 1]
    assert sorted(set(numbers)) == sorted(numbers)
    assert min(numbers[2:]) >= 2
    assert noted_next_row(tmp_path) > max(numbers)


def test_an_id_that_two_parts_have_is_reported_and_not_mended(tmp_path: Path) -> None:
    store = two(tmp_path, [(0, "a", "A"), (1, "b", "B")], [(2, "b", "B2"), (3, "c", "C")])
    assert store.ids() == ["a", "b", "b", "c"]
    report = verify(tmp_path)
    assert not report.fine
    assert report.bad_parts == {
        "part-000000.parquet": "The id 'b' stands in part-000001.parquet, too.",
        "part-000001.parquet": "The id 'b' stands in part-000000.parquet, too.",
    }


@pytest.fixture
def clashing(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    """A store of the cats, and in it a part of another store, of the dogs: both count from 0."""
    for name, other in (("s", "dogs"), ("other", "cats")):
        extract(photos, tmp_path / name, backbone=tiny.path, exclude=(f"{other}/*",))
    (tmp_path / "other" / "part-000000.parquet").rename(tmp_path / "s" / "part-000001.parquet")
    return tmp_path / "s"


def test_repair_gives_the_later_part_new_numbers_and_drops_nothing(
    clashing: Path, photos: Path, tiny: BackboneFile
) -> None:
    before = [parts.read_part(path) for path in list_parts(clashing)]
    with pytest.raises(StoreError, match=r"both hold row 0 .and 9 more., with different contents"):
        extract(photos, clashing, backbone=tiny.path)
    report = verify(clashing, repair=True, backbone=tiny.path)
    assert report.repair is not None
    assert (report.repair.extracted, report.repair.unchanged, report.lost) == (0, 20, [])
    after = [parts.read_part(path) for path in list_parts(clashing)]
    assert after[0].equals(before[0])
    assert after[1].drop_columns(["row"]).equals(before[1].drop_columns(["row"]))
    assert after[1]["row"].to_pylist() == list(range(10, 20))
    assert verify(clashing, sample=100, backbone=tiny.path).fine
    assert extract(photos, clashing, backbone=tiny.path).unchanged == 20


def test_repair_mends_damage_and_clashes_at_once(clashing: Path, tiny: BackboneFile) -> None:
    first = list_parts(clashing)[0]
    table = parts.read_part(first)
    vectors = np.full((10, 8), np.nan, np.float16)
    none = np.zeros(10, bool)
    broken = table.set_column(
        11, table.schema.field(11), parts.vector_array(vectors, none, table.schema.field(11).type)
    )
    parts.write_part(broken, first, replace=True)
    report = verify(clashing, repair=True, backbone=tiny.path)
    assert report.repair is not None
    assert (report.repair.extracted, report.repair.unchanged) == (10, 10)
    assert verify(clashing, sample=100, backbone=tiny.path).fine
    assert sorted(row["row"] for row in rows(clashing).values()) == list(range(20))


def test_repair_changes_nothing_where_two_parts_have_one_id(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    (store / "part-000000.parquet").rename(tmp_path / "kept")
    extract(photos, store, backbone=tiny.path)  # the same ids with new numbers
    (tmp_path / "kept").rename(store / "part-000009.parquet")
    before = {path.name: path.read_bytes() for path in list_parts(store)}
    with pytest.raises(StoreError, match=r"both have a row for 'cats/01.jpg'. Move one of the two out of the folder"):
        verify(store, repair=True, backbone=tiny.path)
    assert {path.name: path.read_bytes() for path in list_parts(store)} == before


def test_a_changed_file_of_a_rename_that_was_cut_off_leaves_no_clash(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    """The run that computes the renamed file again is cut off, too, before it would remove the older half."""
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    original = (store / "part-000000.parquet").read_bytes()
    (photos / "cats" / "01.jpg").rename(photos / "cats" / "new.jpg")
    extract(photos, store, backbone=tiny.path)
    (store / "part-000000.parquet").write_bytes(original)
    make_photo(photos / "cats" / "new.jpg", 900)
    for i in range(9):
        make_photo(photos / "dogs" / f"z{i}.jpg", 901 + i)
    summary = extract(photos, store, backbone=tiny.path, batch_size=1, cancel=lambda: True)
    assert (summary.interrupted, summary.extracted) == (True, 1)
    assert "cats/new.jpg" in FeatureStore.open(store).ids()
    assert "cats/01.jpg" not in FeatureStore.open(store).ids()
    assert extract(photos, store, backbone=tiny.path).extracted == 9
    assert verify(store, sample=100, backbone=tiny.path).fine


@pytest.mark.parametrize("which", [slice(None), slice(-1, None)])
def test_the_numbers_of_parts_deleted_by_hand_do_not_come_again(
    photos: Path, tmp_path: Path, tiny: BackboneFile, which: slice
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path, part_rows=6)
    assert (store / ".next_row").read_text() == "20\n"
    gone = list_parts(store)[which]
    count = sum(parts.read_part(path).num_rows for path in gone)
    for path in gone:
        path.unlink()
    kept = {row["row"] for row in rows(store).values()} if which.start else set()
    extract(photos, store, backbone=tiny.path)
    assert {row["row"] for row in rows(store).values()} - kept == set(range(20, 20 + count))
    assert (store / ".next_row").read_text() == f"{20 + count}\n"


def test_what_a_killed_run_did_not_note_is_noted_by_the_next_one(tmp_path: Path) -> None:
    write_store(tmp_path, np.ones((7, 4)))
    assert noted_next_row(tmp_path) == 0
    writer = PartWriter(tmp_path, provenance(), Known.read(list_parts(tmp_path)).next_row, part_rows=1)
    assert (tmp_path / ".next_row").read_text() == "7\n"
    writer.append(parts.Row(7, Item("a", "", 1, 1), "h", 1, 1, None, None), {"feature": np.ones(4, np.float16)})
    assert (tmp_path / ".next_row").read_text() == "8\n"


def test_the_note_only_rises(tmp_path: Path) -> None:
    for number in (5, 3, 5, 9, 0):
        note_next_row(tmp_path, number)
    assert noted_next_row(tmp_path) == 9
    assert [path.name for path in tmp_path.iterdir()] == [".next_row"]
    (tmp_path / ".next_row").write_text("2\n")
    store = write_store(tmp_path, np.ones((4, 4)))
    assert Known.read(list_parts(store.path)).next_row == 4
    assert PartWriter(tmp_path, provenance(), 4).next_row == 4


@pytest.mark.parametrize(
    "content", [b"", b"x", b"-5", b"5.0", b"1e9", b"0x10", "٣".encode(), b"5\n6", b" 5", b"9" * 20, b"9" * 1_000_000,
                str(MOST_ROWS).encode(), b"\xff\xfe5\x00"]
)  # fmt: skip
def test_a_note_that_cannot_be_read_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".next_row").write_bytes(content)
    assert noted_next_row(tmp_path) == 0
    note_next_row(tmp_path, 6)
    assert (tmp_path / ".next_row").read_text() == "6\n"


@pytest.mark.parametrize(("content", "number"), [(b"5", 5), (b"5\n", 5), (b"007\r\n", 7), (b"0", 0)])
def test_a_note_that_an_editor_saved_is_read(tmp_path: Path, content: bytes, number: int) -> None:
    (tmp_path / ".next_row").write_bytes(content)
    assert noted_next_row(tmp_path) == number


@pytest.mark.skipif(os.name != "posix", reason="pipes and links")
def test_a_note_that_is_no_regular_file_is_neither_read_nor_waited_for(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    note = tmp_path / "s" / ".next_row"
    for kind in ("folder", "pipe", "link"):
        (tmp_path / "s").mkdir(exist_ok=True)
        if kind == "folder":
            note.mkdir()
        elif kind == "pipe":
            os.mkfifo(note)
        else:
            note.symlink_to("/dev/zero")
        assert noted_next_row(tmp_path / "s") == 0
        extract(photos, tmp_path / "s", backbone=tiny.path)
        assert sorted(row["row"] for row in rows(tmp_path / "s").values()) == list(range(20))
        assert [path.name for path in (tmp_path / "s").iterdir() if "tmp" in path.name] == []
        for path in (tmp_path / "s").iterdir():
            path.rmdir() if path.is_dir() else path.unlink()


def test_a_half_written_note_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".next_row.tmp-123").write_text("9")
    parts.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_out_of_numbers_takes_no_rows(tmp_path: Path) -> None:
    write_store(tmp_path, np.ones((1, 4)), rows=[MOST_ROWS - 1])
    with pytest.raises(StoreError, match="there are none left"):
        PartWriter(tmp_path, provenance(), Known.read(list_parts(tmp_path)).next_row)
