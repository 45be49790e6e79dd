from __future__ import annotations

from pathlib import Path

import pytest

from fxengine import InputError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import TextColumns
from fxengine.collect.text_table import TextTable
from fxengine.pipeline.suited import collect_for, holds_texts
from tests.reviews import write_reviews


def test_a_table_or_a_folder_of_texts_for_a_net_of_texts(tmp_path: Path, tiny_texts: BackboneFile) -> None:
    table = write_reviews(tmp_path / "t.csv")
    assert [item.key for item in collect_for(tiny_texts, table, TextColumns("text", "id"))][:2] == ["r00", "r01"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("good")
    assert [item.key for item in collect_for(tiny_texts, tmp_path / "folder")] == ["a.txt"]


def test_the_wrong_kind_is_refused_in_a_sentence(
    photos: Path, tmp_path: Path, tiny: BackboneFile, tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, folder = write_reviews(tmp_path / "t.csv"), tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("good")
    monkeypatch.setattr(TextTable, "__init__", lambda *_: pytest.fail("the table was read"))
    for inputs in (table, folder):
        with pytest.raises(InputError, match="holds texts, and tiny takes pictures: give a picture, or a folder of"):
            collect_for(tiny, inputs)
    with pytest.raises(InputError, match=r"holds no \.txt file, and tiny_text takes texts: give a table of texts \("):
        collect_for(tiny_texts, photos)
    with pytest.raises(InputError, match=r"00\.jpg is no folder, and none of the files that hold texts: \.csv"):
        collect_for(tiny_texts, photos / "dogs" / "00.jpg")


def test_pictures_beside_a_text_are_pictures(photos: Path, tiny: BackboneFile) -> None:
    (photos / "README.txt").write_text("whose they are")
    assert not holds_texts(photos)
    assert collect_for(tiny, photos).count() == 21
    assert not holds_texts(photos / "nowhere.csv")
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        collect_for(tiny, photos / f"{'x' * 300}.csv")


def test_a_folder_of_tables_is_told(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    for name in ("b.csv", "a.tsv"):
        write_reviews(tmp_path / "tables" / name)
    with pytest.raises(InputError, match=r"tables holds tables \(a\.tsv, \.\.\.\): extract from one of them at a time"):
        extract(tmp_path / "tables", tmp_path / "s")


def test_pictures_behind_many_texts_are_found(tmp_path: Path, photos: Path, tiny: BackboneFile) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(1100):
        (folder / f"{number:04d}.txt").write_text("a caption")
    assert holds_texts(folder)
    (folder / "z.jpg").write_bytes(next(photos.rglob("*.jpg")).read_bytes())
    assert not holds_texts(folder)
    assert extract(folder, tmp_path / "s", include="*.jpg").backbone == "efficientnet_lite0"
    for number in range(1, 1100):
        (folder / f"{number:04d}.txt").unlink()
    (folder / "z.jpg").unlink()
    with pytest.raises(InputError, match="There is no file to extract from"):
        extract(folder, tmp_path / "p", include="*.jpg")  # what is chosen by a pattern says nothing of the others
