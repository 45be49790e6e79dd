"""Stores of texts: their rows are computed again from the table, the files, or the texts that the store keeps."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fxengine import FeatureStore, InputError, extract, verify
from fxengine import cache as kept
from fxengine.backbones import cache
from fxengine.backbones.spec import BackboneFile
from fxengine.features import parts
from fxengine.features.schema import FEATURE
from fxengine.trust import was_named
from tests.faults.test_parts import flip_in_vectors
from tests.reviews import REVIEWS, review_store, write_reviews
from tests.texts import tiny_text_model, write_table


@pytest.fixture(autouse=True)
def _own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "_own", None)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "reviews.csv")


@pytest.fixture
def store(table: Path, tmp_path: Path, tiny_texts: BackboneFile) -> Path:
    return review_store(table, tmp_path / "store", tiny_texts, parts=3)


@pytest.fixture
def keeping(table: Path, tmp_path: Path, tiny_texts: BackboneFile) -> Path:
    return review_store(table, tmp_path / "keeping", tiny_texts, keep_text=True, parts=3)


def by_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "of another user"))
    monkeypatch.setattr(kept, "_own", None)
    cache.keep(tiny_text_model(), "tiny-text-of-another")


def swap_vectors(path: Path) -> list[str]:
    """Exchange the vectors of the first two rows of a part; return their ids."""
    table = parts.read_part(path)
    order = pa.array([1, 0, *range(2, len(table))])
    at = table.schema.get_field_index(FEATURE)
    parts.write_part(table.set_column(at, table.schema.field(at), table[FEATURE].take(order)), path, replace=True)
    ids: list[str] = table["id"].to_pylist()[:2]
    return ids


def everything(store: Path) -> dict[str, tuple[object, ...]]:
    opened = FeatureStore.open(store)
    columns = ["id", "row", "label", "content_hash", "size", "tokens", "truncated"]
    rows = opened.rows(columns).to_pylist()
    return {row["id"]: (*row.values(), *v) for row, v in zip(rows, opened.vectors().tolist(), strict=True)}


def test_rows_are_computed_again_from_the_table(store: Path) -> None:
    report = verify(store, sample=60)
    assert (report.fine, report.sampled, report.changed, report.wrong) == (True, 60, [], {})


def test_changed_texts_are_told_by_their_hash_and_new_and_gone_rows_are_no_harm(store: Path, table: Path) -> None:
    rows = {**REVIEWS, "r03": "good, now", "r99": "new"}
    del rows["r07"]
    write_table(table, [(key, text, "good") for key, text in sorted(rows.items(), reverse=True)])
    report = verify(store, sample=60)
    assert (report.fine, report.sampled, sorted(report.changed)) == (True, 58, ["r03", "r07"])


def test_wrong_vectors_are_found_and_mended_from_the_table(store: Path, table: Path) -> None:
    before = everything(store)
    wrong = swap_vectors(parts.list_parts(store)[1])
    report = verify(store, sample=60)
    assert (report.fine, sorted(report.wrong)) == (False, wrong)
    write_reviews(table)  # of another time, and the same texts: nothing else is computed again
    report = verify(store, sample=60, repair=True)
    assert report.repair is not None
    assert (report.repair.extracted, report.repair.changed, report.repair.missing) == (2, 0, 0)
    assert everything(store) == before


@pytest.mark.parametrize("lost", [False, True], ids=["its ids can be read", "nothing can be read"])
def test_a_bad_part_is_made_anew_from_the_table(store: Path, lost: bool) -> None:
    before, bad = everything(store), parts.list_parts(store)[2]
    if lost:
        bad.write_bytes(b"no parquet")
    else:
        flip_in_vectors(bad)
    report = verify(store, repair=True)
    assert report.repair is not None
    assert (list(report.bad_parts), report.repair.extracted) == ([bad.name], 20)
    after = everything(store)
    if lost:  # of new numbers
        before = {key: (row[0], after[key][1], *row[2:]) for key, row in before.items()}
    assert after == before
    assert [parts.read_provenance(path).read_columns for path in parts.list_parts(store)] == [
        {"text": "text", "id": "id", "label": "label"}
    ] * 3
    assert verify(store, sample=60).fine


def test_a_row_that_failed_stays_as_it_was_when_another_is_mended(tmp_path: Path, tiny_texts: BackboneFile) -> None:
    path, store = tmp_path / "t.jsonl", tmp_path / "s"
    path.write_text('{"text": "good"}\n{"text": 7}\n{"text": ""}\n{"text": "bad"}\n')
    extract(path, store, backbone=tiny_texts.path)
    before = FeatureStore.open(store).errors()
    assert [row["id"] for row in before] == ["t.jsonl#000000001", "t.jsonl#000000002"]
    table = parts.read_part(parts.list_parts(store)[0])
    at = table.schema.get_field_index(FEATURE)
    order = pa.array([3, 1, 2, 0])
    changed = table.set_column(at, table.schema.field(at), table[FEATURE].take(order))
    parts.write_part(changed, parts.list_parts(store)[0], replace=True)
    report = verify(store, sample=4, repair=True)
    assert report.repair is not None
    assert (len(report.wrong), report.repair.extracted) == (2, 2)
    assert FeatureStore.open(store).errors() == before


@pytest.mark.parametrize("name", ["lines.txt", "folder"])
def test_lines_and_files_are_read_again_as_they_were(name: str, tmp_path: Path, tiny_texts: BackboneFile) -> None:
    source, store = tmp_path / name, tmp_path / "s"
    if name == "folder":
        source.mkdir()
        (source / "a.txt").write_text("good ü", encoding="utf-16")
        (source / "b.txt").write_text("bad", encoding="utf-8-sig")
    else:
        source.write_text("good ü\nbad\n")
    extract(source, store, backbone=tiny_texts.path)
    assert verify(store, sample=2).changed == []
    before = FeatureStore.open(store).vectors()
    swap_vectors(parts.list_parts(store)[0])
    report = verify(store, sample=2, repair=True)
    assert (len(report.wrong), report.fine) == (2, True)
    np.testing.assert_array_equal(FeatureStore.open(store).vectors(), before)
    if name == "folder":
        (source / "b.txt").write_text("another")
        assert verify(store, sample=2).changed == ["b.txt"]


def test_a_table_that_is_gone_is_told_before_anything_is_changed(store: Path, table: Path) -> None:
    flip_in_vectors(parts.list_parts(store)[0])
    before = {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()}
    table.unlink()
    for asked in ({"sample": 5}, {"repair": True}):
        with pytest.raises(
            InputError, match=r"The table .*reviews\.csv is gone, and the store does not keep its texts"
        ):
            verify(store, **asked)
    assert {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()} == before
    write_table(table, [("a", "b")], header=("id", "words"))
    with pytest.raises(InputError, match=r"has no column 'text'"):
        verify(store, sample=5)


def test_texts_that_the_store_keeps_serve_where_the_table_is_gone(keeping: Path, table: Path) -> None:
    before = everything(keeping)
    table.unlink()
    assert verify(keeping, sample=60).changed == []
    wrong = swap_vectors(parts.list_parts(keeping)[0])
    flip_in_vectors(parts.list_parts(keeping)[1])
    report = verify(keeping, sample=60, repair=True)
    assert report.repair is not None
    assert (sorted(report.wrong), report.repair.extracted) == (wrong, 22)
    assert everything(keeping) == before
    opened = FeatureStore.open(keeping).rows(["id", "text"])
    assert dict(zip(*opened.to_pydict().values(), strict=True)) == REVIEWS


def test_a_table_that_this_user_did_not_name_is_not_read(
    store: Path,
    keeping: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_another_user(tmp_path, monkeypatch)
    said = r"its texts are those of .*reviews\.csv, from which you did not extract: .* its folder as `pictures`\.$"
    with pytest.raises(InputError, match=said):
        verify(store, sample=5)
    assert verify(keeping, sample=5).sampled == 5
    with pytest.raises(InputError, match=said):  # after which the table would count as named
        verify(keeping, sample=5, repair=True)
    assert not was_named("root", str(table))
    assert verify(store, sample=5, pictures=table.parent).sampled == 5


def test_a_missing_library_is_told_before_anything_is_changed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip_in_vectors(parts.list_parts(store)[0])
    before = {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()}
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'fxengine\[text\]'"):
        verify(store, repair=True)
    assert {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()} == before
