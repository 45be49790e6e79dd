"""Folders of text files: which are listed, what their folders say, and what is no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from fxengine.collect import collect
from fxengine.collect.item import Item
from fxengine.errors import DecodeError, InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"in {name}")


def labels(root: Path) -> dict[str, tuple[str | None, str | None]]:
    return {item.key: (item.label, item.split) for item in collect(root, modality="text")}


def test_all_that_ends_in_txt_is_a_text_unless_something_else_is_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.TXT", "c/d.Txt", "e.md", "f", "a.jpg", ".g.txt")
    assert [*labels(tmp_path)] == ["a.txt", "b.TXT", "c/d.Txt"]
    assert [item.key for item in collect(tmp_path, modality="text", include=["*.md", "f"])] == ["e.md", "f"]
    assert [item.key for item in collect(tmp_path, modality="text", exclude=["c/*"])] == ["a.txt", "b.TXT"]


def test_folders_with_texts_are_classes_and_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/good/1.txt", "train/bad/1.TXT", "Test/good/2.txt", "train/pictures/1.jpg")
    assert labels(tmp_path) == {
        "Test/good/2.txt": ("good", "test"), "train/bad/1.TXT": ("bad", "train"), "train/good/1.txt": ("good", "train"),
    }  # fmt: skip
    assert collect(tmp_path, modality="text").labelled
    # One class alone is none; for pictures, it is the other way round.
    touch(tmp_path / "one", "notes/1.txt", "photos/1.jpg")
    assert labels(tmp_path / "one") == {"notes/1.txt": (None, None)}
    touch(tmp_path / "two", "notes/1.txt", "a/1.jpg", "b/1.jpg")
    assert [item.label for item in collect(tmp_path / "two")] == ["a", "b", None]


def test_those_that_a_list_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.md", "c.txt")
    (tmp_path / "list.csv").write_text("path\nc.txt\nb.md\nnot there.txt\n")
    listing = collect(tmp_path, listing=tmp_path / "list.csv", modality="text")
    items = [*listing]
    assert [item.key for item in items] == ["b.md", "c.txt", "not there.txt"]
    assert (listing.count(), listing.labelled, listing.root) == (3, False, tmp_path)
    assert listing.read(items[0], 100) == (b"in b.md", items[0])
    with pytest.raises(DecodeError) as caught:
        listing.read(items[2], 100)
    assert caught.value.code == "vanished"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_comes_as_utf8_without_its_mark(tmp_path: Path, encoding: str) -> None:
    text = " é\r\n日本\ufeff\n"
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    listing = collect(tmp_path, modality="text")
    (item,) = listing
    assert item == Item("a.txt", str(path), path.stat().st_size, path.stat().st_mtime_ns)
    assert listing.read(item, 100) == (text.encode(), item)


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", "empty", "The text is empty."),
        (b" \r\n\xe3\x80\x80", "empty", "The text is empty."),
        (b"\xef\xbb\xbf", "empty", "The text is empty."),
        (b"a\xe9", "not_text", "It is not UTF-8: unexpected end of data at byte 1."),
        (b"\xef\xbb\xbfa\xff", "not_text", "It is not UTF-8: invalid start byte at byte 4."),
        (b"\xff\xfea\0b", "not_text", "It is not UTF-16-LE: truncated data at byte 4."),
        (b"a\0b", "not_text", "It holds zero bytes, as no text does."),
        (b"x" * 101, "too_large", "101 bytes; `max_bytes` allows 100."),
    ],
)
def test_what_is_no_text_is_an_error_of_its_row(tmp_path: Path, data: bytes, code: str, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    listing = collect(tmp_path, modality="text")
    (item,) = listing
    with pytest.raises(DecodeError) as caught:
        listing.read(item, 100)
    assert (caught.value.code, str(caught.value)) == (code, said)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^There is no folder .*none\.$"):
        collect(tmp_path / "none", modality="text")
    with pytest.raises(InputError, match=r"^There is no list .*none\.txt\.$"):
        collect(tmp_path, listing=tmp_path / "none.txt", modality="text")
