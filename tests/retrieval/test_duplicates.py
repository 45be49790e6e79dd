from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fxengine import InputError, StoreError
from fxengine.features import parts
from fxengine.retrieval.duplicates import duplicates, in_words
from fxengine.trust import note_named
from fxengine.ui.cli import main
from fxengine.ui.pages.duplicates import duplicates_page
from tests.conftest import make_photo
from tests.retrieval.copies.made import scene, second_shot
from tests.stores import write_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """40 different rows; 1 is a copy of 0, 3 the same file as 2 with another label, 5 and 6 copies of 4 in splits."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(0, 1, (40, 64))
    vectors[1] = vectors[0] + rng.normal(0, 0.1, 64)
    vectors[3] = vectors[2]
    vectors[5], vectors[6] = (vectors[4] + rng.normal(0, 0.1, 64) for _ in range(2))
    hashes = [f"h{i}" for i in range(40)]
    hashes[3] = hashes[2]
    labels: list[str | None] = ["cats"] * 40
    labels[3], labels[1] = "dogs", None
    splits: list[str | None] = ["train"] * 40
    splits[6] = "test"
    widths = [100] * 40
    widths[1], widths[5] = 300, 200
    write_store(tmp_path / "store", vectors, hashes=hashes, labels=labels, splits=splits, widths=widths, failed=(39,))
    return tmp_path / "store"


def test_groups_their_best_picture_and_what_they_cross(store: Path) -> None:
    report = duplicates(store)
    rows = report.table.to_pylist()
    ids = [[int(row["id"]) for row in rows if row["group"] == group] for group in range(report.groups)]
    assert ids == [[5, 4, 6], [1, 0], [2, 3]]
    assert [int(row["id"]) for row in rows if not row["keep"]] == [3]
    assert [row["kind"] for row in rows] == [None, "unverified", "unverified", None, "unverified", None, "identical"]
    assert [row["of"] for row in rows] == [None, "000005", "000005", None, "000001", None, "000002"]
    assert report.kinds == {"identical": 1, "unverified": 3}
    assert [int(row["id"]) for row in rows if row["identical"]] == [2, 3]
    assert {row["id"]: row["same_as"] for row in rows if row["same_as"]} == {"000003": "000002"}
    assert [in_words(row) for row in rows][-2:] == ["keep", "same file as 000002"]
    assert in_words(rows[1]) == f"unverified, likeness {rows[1]['likeness']:.3f}"
    assert [int(row["id"]) for row in rows if row["crosses_labels"]] == [2, 3]
    assert [int(row["id"]) for row in rows if row["crosses_splits"]] == [5, 4, 6]
    assert (report.rows, report.chosen, report.crossing("labels"), report.crossing("splits")) == (39, True, 1, 1)
    likeness = {int(row["id"]): row["likeness"] for row in rows}
    assert [likeness[i] for i in (5, 1, 2, 3)] == pytest.approx([1, 1, 1, 1], abs=2e-3)
    assert report.threshold <= likeness[0] < 1


def test_threshold_one_links_equal_files_only(store: Path) -> None:
    report = duplicates(store, threshold=1)
    assert report.table["id"].to_pylist() == ["000002", "000003"]
    assert not report.chosen
    for threshold in (0, 1.5):
        with pytest.raises(InputError, match=f"above 0 and at most 1. Got {threshold}"):
            duplicates(store, threshold=threshold)


def test_texts_are_not_linked_by_less_than_085(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(0, 1, (40, 64))
    vectors[1] = vectors[0] + rng.normal(0, 0.1, 64)
    vectors[3] = vectors[2] + rng.normal(0, 0.7, 64)
    pictures = write_store(tmp_path / "store", vectors)
    found = duplicates(pictures.path)
    assert found.threshold < 0.85
    assert found.table["id"].to_pylist() == ["000000", "000001", "000002", "000003"]
    [part] = parts.list_parts(pictures.path)
    said = replace(pictures.provenance, recipe={"modality": "text"})
    parts.write_part(parts.read_part(part).replace_schema_metadata(said.to_metadata()), part, replace=True)
    found = duplicates(pictures.path)
    assert (found.threshold, found.chosen) == (0.85, True)
    assert found.table["id"].to_pylist() == ["000000", "000001"]
    assert duplicates(pictures.path, threshold=0.5).table["id"].to_pylist() == ["000000", "000001", "000002", "000003"]


def test_a_store_without_copies_and_one_without_rows(tmp_path: Path) -> None:
    write_store(tmp_path / "a", np.random.default_rng(0).normal(0, 1, (30, 16)))
    report = duplicates(tmp_path / "a")
    assert (report.groups, len(report.table), report.crossing("labels")) == (0, 0, 0)
    write_store(tmp_path / "b", np.ones((1, 4)), failed=(0,))
    with pytest.raises(StoreError, match="there is nothing to search"):
        duplicates(tmp_path / "b")


def test_the_command_writes_tables_and_a_page(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["duplicates", str(store)]) == 0
    shown = capsys.readouterr().out
    assert "3 groups, 1 pictures more than needed among 39" in shown
    assert "3 unverified: alike, and not compared: kept" in shown
    assert "--pictures names one" in " ".join(shown.split())
    assert "1 groups hold pictures of several splits" in shown
    for suffix in ("parquet", "csv", "json"):
        assert main(["duplicates", str(store), "-o", str(tmp_path / f"d.{suffix}")]) == 0
    assert pq.read_table(tmp_path / "d.parquet")["group"].to_pylist() == [0, 0, 0, 1, 1, 2, 2]
    assert pyarrow.csv.read_csv(tmp_path / "d.csv")["keep"].to_pylist().count(True) == 6
    assert len(json.loads((tmp_path / "d.json").read_text())) == 7
    capsys.readouterr()
    assert main(["duplicates", str(store), "--json", "--html", str(tmp_path / "d.html")]) == 0
    assert json.loads(capsys.readouterr().out)["redundant"] == 1
    assert (tmp_path / "d.html").read_text().count("<figure>") == 7


def test_the_page_shows_the_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(0, 1, (20, 64))
    vectors[1] = vectors[0]
    for i in range(20):
        make_photo(tmp_path / "photos" / f"{i:06d}.png", i)
    Image.open(tmp_path / "photos" / "000000.png").save(tmp_path / "photos" / "000001.png")
    ids = [f"{i:06d}.png" for i in range(20)]
    write_store(tmp_path / "store", vectors, ids=ids, root=str(tmp_path / "photos"))
    note_named("root", str(tmp_path / "photos"))
    page = duplicates_page(duplicates(tmp_path / "store"))
    assert page.count("<img ") == 2
    assert "group 0: 2 pictures" in page


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """24 photos: 1 is a half of 0, 2 a second shot of it, 3 its very file in test, 4 a mirrored crop of 5."""
    folder, rng = tmp_path / "photos", np.random.default_rng(1)
    folder.mkdir()
    pictures = [scene(seed) for seed in range(24)]
    pictures[1], pictures[2] = pictures[0].resize((160, 120)), second_shot(pictures[0], 1)
    pictures[4] = pictures[5].crop((40, 30, 307, 231)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number:06d}.jpg", quality=90)
    (folder / "000003.jpg").write_bytes((folder / "000000.jpg").read_bytes())
    files = [folder / f"{number:06d}.jpg" for number in range(24)]
    vectors = rng.normal(0, 1, (24, 64))
    vectors[1], vectors[2], vectors[3] = (vectors[0] + rng.normal(0, 0.1, 64) for _ in range(3))
    vectors[4] = vectors[5] + rng.normal(0, 0.5, 64)
    splits: list[str | None] = ["train"] * 24
    splits[3] = "test"
    write_store(
        tmp_path / "store",
        vectors,
        ids=[path.name for path in files],
        hashes=[hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
        widths=[picture.width for picture in pictures],
        splits=splits,
        root=str(folder),
    )
    note_named("root", str(folder))
    return tmp_path / "store"


def test_what_is_the_same_is_proven_and_what_is_not_is_kept(copies: Path) -> None:
    report = duplicates(copies)
    rows = {int(row["id"][:6]): row for row in report.table.to_pylist()}
    assert {row: rows[row]["kind"] for row in sorted(rows)} == {
        0: None, 1: "same picture", 2: "same scene", 3: "identical", 4: "same picture", 5: None,
    }  # fmt: skip
    assert [rows[row]["of"][:6] for row in (1, 2, 3, 4)] == ["000000", "000000", "000000", "000005"]
    assert (rows[1]["transform"], rows[4]["transform"]) == ("smaller", "mirrored, cropped")
    assert [row for row in sorted(rows) if not rows[row]["keep"]] == [1, 3, 4]
    assert rows[0]["kept_for"] == "most pixels"
    assert report.kinds == {"identical": 1, "same picture": 2, "same scene": 1}
    assert (report.redundant, report.across_splits) == (3, 1)
    assert rows[1]["score"] > 0.98 > rows[2]["score"]


def test_copies_across_splits_come_first(copies: Path) -> None:
    part = parts.list_parts(copies)[0]
    table = parts.read_part(part)
    splits = table["split"].to_pylist()
    splits[3], splits[4] = "train", "test"
    table = table.set_column(table.schema.get_field_index("split"), table.schema.field("split"), [splits])
    parts.write_part(table, part, replace=True)
    assert duplicates(copies).table["id"][0].as_py() == "000000.jpg"
    report = duplicates(copies, across_splits=True)
    assert report.table["id"].to_pylist()[:2] == ["000005.jpg", "000004.jpg"]
    assert report.across_splits == 1


def test_pictures_that_moved_are_unverified(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = copies.parent / "photos"
    make_photo(photos / "000001.jpg", 99)  # another picture now
    photos.joinpath("000002.jpg").unlink()
    report = duplicates(copies)
    assert report.kinds == {"identical": 1, "same picture": 1, "unverified": 2}
    assert report.redundant == 2
    photos.rename(copies.parent / "elsewhere")
    assert main(["duplicates", str(copies)]) == 0
    assert "its files are gone or others now" in " ".join(capsys.readouterr().out.split())
    assert duplicates(copies).redundant == 1  # the content hash needs no file


def test_the_page_has_what_is_more_than_needed_apart(copies: Path) -> None:
    page = duplicates_page(duplicates(copies))
    needed, alike = page.split("<h2>")[1:]
    assert needed.startswith("More than needed: identical, or the same picture</h2>")
    assert needed.count("<img ") == 5 + needed.count("difference, 4 times")
    assert "same picture, mirrored, cropped (agrees" in needed
    assert alike.count("<img ") == 2


def test_rows_of_a_store_that_are_all_one_are_fully_alike(tmp_path: Path) -> None:
    write_store(tmp_path / "store", np.ones((5, 16)), hashes=["h"] * 5)
    assert duplicates(tmp_path / "store").table["likeness"].to_pylist() == [1] * 5


def test_a_folder_that_is_missing_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"there is no folder {tmp_path}/none\. Make it first"):
        duplicates(store, output=tmp_path / "none" / "x.csv")


def test_the_fuller_picture_is_kept_though_an_enlarged_crop_has_more_pixels(copies: Path) -> None:
    photos = copies.parent / "photos"
    whole = Image.open(photos / "000005.jpg")
    whole.crop((0, 0, 268, 200)).resize((400, 300)).save(photos / "000004.jpg", quality=95)
    part = parts.list_parts(copies)[0]
    table = parts.read_part(part)
    hashes = [hashlib.sha256((photos / key).read_bytes()).hexdigest() for key in table["id"].to_pylist()]
    sizes = [Image.open(photos / key).size for key in table["id"].to_pylist()]
    values = {"content_hash": hashes, "width": [w for w, _ in sizes], "height": [h for _, h in sizes]}
    for name, column in values.items():
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(column, field.type))
    parts.write_part(table, part, replace=True)
    rows = {int(row["id"][:6]): row for row in duplicates(copies).table.to_pylist()}
    assert (rows[5]["keep"], rows[5]["kept_for"]) == (True, "shows more")
    assert (rows[4]["of"], rows[4]["kind"], rows[4]["transform"]) == ("000005.jpg", "same picture", "cropped, larger")
