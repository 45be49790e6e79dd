from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from fxengine.collect import collect
from fxengine.collect.item import Item, unescape_path
from fxengine.collect.paths import list_paths
from fxengine.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in ("a.jpg", "b/c.jpg", "with space.jpg", "00123", "ü.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def listed(tmp_path: Path, root: Path, name: str, text: str | bytes) -> list[Item]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(list_paths(path, root))


def keys(tmp_path: Path, root: Path, name: str, text: str | bytes) -> list[str]:
    return [item.key for item in listed(tmp_path, root, name, text)]


def test_a_text_file_names_one_path_a_line(tmp_path: Path, root: Path) -> None:
    found = listed(tmp_path, root, "list.txt", "with space.jpg\n\nb/c.jpg\r\na.jpg")
    assert [item.key for item in found] == ["a.jpg", "b/c.jpg", "with space.jpg"]
    status = (root / "b/c.jpg").stat()
    assert found[1] == Item("b/c.jpg", str(root / "b/c.jpg"), 7, status.st_mtime_ns, None, None)


def test_a_name_that_is_not_utf8_comes_back_byte_for_byte(tmp_path: Path, root: Path) -> None:
    name = b"caf\xe9.jpg"
    with open(os.fsencode(root) + b"/" + name, "wb") as file:  # noqa: PTH123
        file.write(b"1234")
    (item,) = listed(tmp_path, root, "list.txt", name + b"\n")
    assert os.fsencode(unescape_path(item.key)) == name
    assert item.size == 4


def test_each_path_counts_once_however_it_is_written(tmp_path: Path, root: Path) -> None:
    text = f"a.jpg\na.jpg\n./a.jpg\nb/../a.jpg\nb//c.jpg\n{root}/a.jpg\n"
    listing = tmp_path / "list.txt"
    listing.write_text(text)
    found = list_paths(listing, root)
    assert [item.key for item in found] == ["a.jpg", "b/c.jpg"]
    assert found.count() == 6


def test_the_order_is_bytewise(tmp_path: Path, root: Path) -> None:
    assert keys(tmp_path, root, "list.txt", "ü\na/b\na.b\na-b\nZ\na0") == ["Z", "a-b", "a.b", "a/b", "a0", "ü"]


def test_what_is_not_there_is_listed_without_size_and_time(tmp_path: Path, root: Path) -> None:
    (item,) = listed(tmp_path, root, "list.txt", "gone.jpg")
    assert (item.key, item.size, item.mtime_ns) == ("gone.jpg", -1, 0)


def test_absolute_paths_are_relative_to_the_root(tmp_path: Path, root: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_text("12345")
    found = listed(tmp_path, root, "list.txt", f"{root}/b/c.jpg\n{outside}\n")
    assert [item.key for item in found] == ["../outside.jpg", "b/c.jpg"]
    assert [item.size for item in found] == [5, 7]
    assert [Path(item.source).read_text() for item in found] == ["12345", "b/c.jpg"]


@pytest.mark.parametrize("column", ["path", "Path", "file", "filename", "file_name", "image", "IMAGE_PATH", "id"])
def test_a_csv_names_paths_in_a_column(tmp_path: Path, root: Path, column: str) -> None:
    text = f'label,{column}\ncat,"with space.jpg"\ndog,a.jpg\n'
    assert keys(tmp_path, root, "list.csv", text) == ["a.jpg", "with space.jpg"]


def test_an_empty_cell_of_a_csv_names_no_file(tmp_path: Path, root: Path) -> None:
    assert keys(tmp_path, root, "list.csv", "label,path\ncat,a.jpg\ndog,\n") == ["a.jpg"]


def test_the_only_column_is_taken_whatever_its_name(tmp_path: Path, root: Path) -> None:
    assert keys(tmp_path, root, "list.csv", "photo\na.jpg\nb/c.jpg\n") == ["a.jpg", "b/c.jpg"]


def test_a_name_of_digits_stays_as_it_is_written(tmp_path: Path, root: Path) -> None:
    (item,) = listed(tmp_path, root, "list.csv", "path,label\n00123,cat\n")
    assert (item.key, item.size) == ("00123", 5)


def test_tabs_separate_a_tsv(tmp_path: Path, root: Path) -> None:
    assert keys(tmp_path, root, "list.TSV", "label\tpath\ncat\ta.jpg\n") == ["a.jpg"]


def test_a_parquet_table(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "list.parquet"
    columns = {"n": [1, 2, 3, 4], "path": ["b/c.jpg", "a.jpg", None, "a.jpg"]}
    pyarrow.parquet.write_table(pa.table(columns), path)
    assert [item.key for item in list_paths(path, root)] == ["a.jpg", "b/c.jpg"]


def test_a_missing_column_is_named_with_what_there_is(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match=r"list\.csv has no column 'path'\. It has: picture, label\.$"):
        listed(tmp_path, root, "list.csv", "picture,label\na.jpg,cat\n")


@pytest.mark.parametrize(("name", "text"), [("list.txt", ""), ("list.txt", "\n \n\n"), ("list.csv", "path,label\n")])
def test_an_empty_list_is_refused(tmp_path: Path, root: Path, name: str, text: str) -> None:
    with pytest.raises(InputError, match=r"The list .* names no file\."):
        listed(tmp_path, root, name, text)


@pytest.mark.parametrize(("name", "text"), [("list.parquet", "no parquet"), ("list.csv", ""), ("list.csv", "a,b\n1\n")])
def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path, root: Path, name: str, text: str) -> None:
    with pytest.raises(InputError, match=r"The list .* cannot be read: "):
        listed(tmp_path, root, name, text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l_bom.txt", ["cats/cat.4001.jpg", "cats/cat.4002.jpg", "dogs/dog.4001.jpg"]),
        ("l_nohead.csv", ["cats/cat.4001.jpg", "cats/cat.4002.jpg", "dogs/dog.4001.jpg"]),
        ("l_semi.csv", ["cats/cat.4001.jpg", "cats/cat.4002.jpg", "dogs/dog.4001.jpg"]),
    ],
)
def test_the_reported_lists(name: str, expected: list[str], shared_data: Callable[[str], Path], root: Path) -> None:
    assert [item.key for item in list_paths(shared_data("reports") / name, root)] == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.tsv"])
def test_marks_and_ends_of_lines_belong_to_no_path(
    tmp_path: Path, root: Path, encoding: str, end: str, name: str
) -> None:
    lines = ["ü.jpg", "b/c.jpg", "with space.jpg"]
    header = [] if name == "list.txt" else ["path"]
    for text in (end.join(header + lines), end.join(header + lines) + end, end.join(lines)):
        found = listed(tmp_path, root, name, text.encode(encoding))
        assert [(item.key, item.size >= 0) for item in found] == [
            ("b/c.jpg", True), ("with space.jpg", True), ("ü.jpg", True),
        ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["00123\na.jpg\n", "00123;x\na.jpg;y", "x,00123\ny,a.jpg\n", "gone.PNG,1\na.jpg,2\n00123,3\n", "a.jpg\n00123\n"],
)
def test_a_list_without_a_header_loses_no_line(tmp_path: Path, root: Path, text: str) -> None:
    found = keys(tmp_path, root, "list.csv", text)
    assert [key for key in found if key != "gone.PNG"] == ["00123", "a.jpg"]
    assert len(found) == text.strip().count("\n") + 1


def test_one_path_without_an_end_is_a_list(tmp_path: Path, root: Path) -> None:
    assert keys(tmp_path, root, "list.csv", "a.jpg") == ["a.jpg"]


@pytest.mark.parametrize(
    ("written", "key"),
    [
        (r"b\c.jpg", "b/c.jpg"),
        (r".\b\c.jpg", "b/c.jpg"),
        (unicodedata.normalize("NFD", "ü.jpg"), "ü.jpg"),
        ("é/ü.jpg", "e\u0301/ü.jpg"),  # the folder in one form, the file in the other
        (r"back\slash.jpg", r"back\\slash.jpg"),
        (r"back\\slash.jpg", r"back\\slash.jpg"),  # as the store writes its id
        (r"caf\xe9.jpg", r"caf\xe9.jpg"),
        ("café.jpg", r"caf\xe9.jpg"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_a_path_is_found_in_the_spelling_of_the_disk(
    tmp_path: Path, root: Path, written: str, key: str, encoding: str, name: str
) -> None:
    for other in ("e\u0301/ü.jpg", "back\\slash.jpg", os.fsdecode(b"caf\xe9.jpg")):
        (root / other).parent.mkdir(exist_ok=True)
        (root / other).write_text("12")
    if encoding == "cp1252" and not written.isascii():
        written = unicodedata.normalize("NFC", written)
    found = listed(tmp_path, root, name, f"path\n{written}\n".encode(encoding))
    assert [(item.key, item.size >= 0) for item in found if item.key != "path"] == [(key, True)]


def test_of_two_spellings_the_exact_one_is_taken_and_a_third_is_not_there(tmp_path: Path, root: Path) -> None:
    (root / "u\u0308.jpg").write_text("12")
    assert [item.size for item in listed(tmp_path, root, "list.txt", "u\u0308.jpg\nü.jpg\n")] == [2, 6]
    (item,) = listed(tmp_path, root, "list.txt", "b\\..\\ü.jpg\n")
    assert (item.key, item.size) == ("b\\\\..\\\\ü.jpg", -1)


def test_a_path_that_two_lines_spell_differently_counts_once(tmp_path: Path, root: Path) -> None:
    assert keys(tmp_path, root, "list.txt", "b/c.jpg\nb\\c.jpg\n./b/c.jpg\n") == ["b/c.jpg"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": [["a.jpg"]]}, r"The column 'path' of the list .* holds list.*: one text or number a row is needed"),
        ({"image": [{"bytes": b"", "path": "a.jpg"}]}, r"The column 'image' of the list .* holds struct<"),
    ],
)
def test_columns_that_hold_no_paths_are_refused(
    tmp_path: Path, root: Path, columns: dict[str, list[Any]], said: str
) -> None:
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(InputError, match=said):
        list_paths(tmp_path / "list.parquet", root)


def test_two_columns_of_paths_and_lines_of_other_length_are_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match=r"^2 columns of the list .* are called 'path': rename all"):
        listed(tmp_path, root, "list.csv", "path,path\na.jpg,b\n")
    with pytest.raises(InputError, match=r"line 3 has 2 fields parted by ',', the first one has 1 field\."):
        listed(tmp_path, root, "list.csv", "path\na.jpg\nwith,comma.jpg\n")


def test_a_column_of_paths_goes_before_one_of_numbers(tmp_path: Path, root: Path) -> None:
    assert keys(tmp_path, root, "list.csv", "id,path\n1,a.jpg\n") == ["a.jpg"]


def test_a_missing_list_is_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match=r"There is no list .*gone\.txt\."):
        list_paths(tmp_path / "gone.txt", root)


def test_collect_takes_a_list(tmp_path: Path, root: Path) -> None:
    (tmp_path / "list.txt").write_text("b/c.jpg\n")
    listing = collect(root, listing=tmp_path / "list.txt")
    assert listing.root == root
    assert listing.unreadable == []
    assert [item.key for item in listing] == ["b/c.jpg"]


def test_a_path_that_is_the_number_zero(tmp_path: Path) -> None:
    touch = [tmp_path / name for name in ("0", "1")]
    for path in touch:
        path.write_bytes(b"x")
    pa.parquet.write_table(pa.table({"id": [0, 1, None]}), tmp_path / "list.parquet")
    assert list_paths(tmp_path / "list.parquet", tmp_path).paths == ["0", "1"]


@pytest.mark.parametrize(("name", "modality"), [("a.jpg", "picture"), ("t.csv", "text")])
def test_a_list_of_what_is_in_a_file_is_refused(name: str, modality: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("text\ngood\n")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    with pytest.raises(
        InputError, match=rf"`listing` names files in a folder, and .*{name} is a file: give the folder"
    ):
        collect(tmp_path / name, listing=tmp_path / "list.txt", modality=modality)
