from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import Filters, collect, folder
from fxengine.collect.folder import FolderListing, list_folder
from fxengine.collect.item import SPLITS, Item, escape_path, unescape_path
from fxengine.errors import InputError
from tests.conftest import make_photo


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


def items(root: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[Item]:
    return list(list_folder(root, Filters(include, exclude)))


def keys(root: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    return [item.key for item in items(root, include=include, exclude=exclude)]


def labels(root: Path) -> dict[str, tuple[str | None, str | None]]:
    return {item.key: (item.label, item.split) for item in items(root)}


def test_the_order_is_that_of_the_bytes_of_the_whole_id(tmp_path: Path) -> None:
    # "-" < "." < "/" < "0" < "A" < "_" < "a" < the UTF-8 of "é"
    expected = ["B.jpg", "a-b/c.jpg", "a.jpg", "a/b.jpg", "a/b/c.jpg", "a0/b.jpg", "aA.jpg", "a_.jpg", "é.jpg"]
    touch(tmp_path, *[name for name in expected[::-1] if name != "a/b/c.jpg"], "a/b-c/d.jpg")
    expected[4:5] = []
    expected.insert(3, "a/b-c/d.jpg")
    assert keys(tmp_path) == expected
    assert [key.encode() for key in expected] == sorted(key.encode() for key in expected)


def test_an_item_says_where_the_file_is_how_large_and_how_old(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.jpg")
    os.utime(tmp_path / "a/b.jpg", ns=(1, 1_700_000_000_123_456_789))
    assert items(tmp_path) == [Item("a/b.jpg", str(tmp_path / "a/b.jpg"), 7, 1_700_000_000_123_456_789, None, None)]


def test_two_class_folders_give_labels(photos: Path) -> None:
    touch(photos, "above.jpg", "dogs/deeper/x.jpg", "notes/readme.txt")
    found = labels(photos)
    assert len(found) == 23
    assert found["cats/01.jpg"] == ("cats", None)
    assert found["dogs/00.jpg"] == ("dogs", None)
    assert found["dogs/deeper/x.jpg"] == ("dogs", None)
    assert found["above.jpg"] == (None, None)
    assert found["notes/readme.txt"] == (None, None)


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "holiday/a.jpg", "holiday/b.jpg", "texts/c.txt")
    assert set(labels(tmp_path).values()) == {(None, None)}


def test_splits_come_before_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/cats/a.jpg", "train/dogs/b.jpg", "Val/cats/c.jpg", "Val/d.jpg", "other/e.jpg", "f.jpg")
    assert labels(tmp_path) == {
        "train/cats/a.jpg": ("cats", "train"),
        "train/dogs/b.jpg": ("dogs", "train"),
        "Val/cats/c.jpg": ("cats", "val"),
        "Val/d.jpg": (None, "val"),
        "other/e.jpg": (None, None),
        "f.jpg": (None, None),
    }


@pytest.mark.parametrize("name", [*SPLITS, "Validation", "TRAINING"])
def test_every_name_of_a_split_makes_one(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"{name}/cats/a.jpg", f"{name}/dogs/b.jpg")
    found = {f"{name}/cats/a.jpg": ("cats", name.lower()), f"{name}/dogs/b.jpg": ("dogs", name.lower())}
    assert labels(tmp_path) == found


def test_a_store_made_before_a_split_was_known_is_relabelled_without_computing(
    tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, name in enumerate(["train/cats", "train/dogs", "validation/cats", "validation/dogs"]):
        make_photo(tmp_path / "photos" / name / "x.jpg", i)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "SPLITS", {"train": "train", "val": "val", "valid": "val", "test": "test"})
        extract(tmp_path / "photos", tmp_path / "s", backbone=tiny.path)
    old = FeatureStore.open(tmp_path / "s").table()
    assert old.splits == ["train", "train", None, None]
    done = extract(tmp_path / "photos", tmp_path / "s", backbone=tiny.path)
    assert (done.extracted, done.unchanged, done.relabelled) == (0, 4, 2)
    new = FeatureStore.open(tmp_path / "s").table()
    assert new.splits == ["train", "train", "validation", "validation"]
    assert new.labels == ["cats", "dogs", "cats", "dogs"]
    assert (new.vectors == old.vectors).all()


def test_splits_without_two_classes_are_still_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/cats/a.jpg", "test/cats/b.jpg", "valid/c.jpg")
    assert labels(tmp_path) == {
        "train/cats/a.jpg": (None, "train"),
        "test/cats/b.jpg": (None, "test"),
        "valid/c.jpg": (None, "valid"),
    }


def test_a_class_that_only_one_split_has_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/cats/a.jpg", "val/dogs/b.jpg")
    assert labels(tmp_path) == {"train/cats/a.jpg": ("cats", "train"), "val/dogs/b.jpg": ("dogs", "val")}


def test_folders_of_pictures_without_a_suffix_are_classes_too(tmp_path: Path) -> None:
    touch(tmp_path, "cats/0001", "dogs/0002")
    assert labels(tmp_path) == {"cats/0001": ("cats", None), "dogs/0002": ("dogs", None)}


def test_labels_are_escaped_as_ids_are(tmp_path: Path) -> None:
    touch(tmp_path, os.fsdecode(b"caf\xe9/a.jpg"), "back\\slash/b.jpg")
    assert {item.label for item in items(tmp_path)} == {"caf\\xe9", "back\\\\slash"}


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.jpg", ".thumbs/a.jpg", "b/.DS_Store", "b/c.jpg", "._d.jpg", "e..jpg")
    assert keys(tmp_path) == ["b/c.jpg", "e..jpg"]


def test_equal_basenames_are_different_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "x.jpg")
    found = items(tmp_path)
    assert [item.key for item in found] == ["a/x.jpg", "b/x.jpg", "x.jpg"]
    assert [Path(item.source).read_text() for item in found] == ["a/x.jpg", "b/x.jpg", "x.jpg"]


def test_every_regular_file_counts_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "A.JPG", "b.JpEg", "noextension", "notes.txt", "trailing.", "two.tar.gz")
    assert keys(tmp_path) == ["A.JPG", "b.JpEg", "noextension", "notes.txt", "trailing.", "two.tar.gz"]


def test_a_folder_called_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg/inside.jpg", "y.jpg")
    assert keys(tmp_path) == ["x.jpg/inside.jpg", "y.jpg"]


def test_a_link_to_a_parent_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c.jpg", "d.jpg")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/root").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(".")
    assert keys(tmp_path) == ["a/b/c.jpg", "d.jpg"]
    assert list_folder(tmp_path, Filters()).count() == 2


def test_a_link_to_a_parent_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "cats/a.jpg")
    (tmp_path / "loop").symlink_to(".")
    assert labels(tmp_path) == {"cats/a.jpg": (None, None)}


def test_links_to_folders_and_files_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/x.jpg", "store/deep/y.jpg", "root/own.jpg")
    root = tmp_path / "root"
    (root / "linked").symlink_to(tmp_path / "store")
    (root / "again").symlink_to(tmp_path / "store")  # twice is no loop
    (root / "one.jpg").symlink_to(tmp_path / "store/x.jpg")
    found = {item.key: item for item in items(root)}
    assert list(found) == [
        "again/deep/y.jpg",
        "again/x.jpg",
        "linked/deep/y.jpg",
        "linked/x.jpg",
        "one.jpg",
        "own.jpg",
    ]
    assert found["one.jpg"].size == len("store/x.jpg")
    assert found["one.jpg"].mtime_ns == (tmp_path / "store/x.jpg").stat().st_mtime_ns


def test_a_broken_link_is_listed_without_size_and_time(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    found = {item.key: (item.size, item.mtime_ns) for item in items(tmp_path)}
    assert list(found) == ["a.jpg", "broken.jpg", "circle.jpg"]
    assert found["broken.jpg"] == found["circle.jpg"] == (-1, 0)


def test_a_pipe_is_not_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert keys(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize(
    "name",
    [b"caf\xe9.jpg", b"\xff\xfe.jpg", b"back\\slash.jpg", b"\\x41.jpg", b"\\\xe9\\\\.jpg", b"new\nline.jpg", b" .jpg"],
)
def test_every_name_comes_back_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"content")
    (item,) = items(tmp_path)
    item.key.encode()
    assert os.fsencode(unescape_path(item.key)) == name
    assert os.fsencode(item.source) == path
    assert Path(item.source).read_bytes() == b"content"


@given(st.binary(min_size=1, max_size=40))
def test_escaping_is_reversible_and_plain_utf8(name: bytes) -> None:
    text = os.fsdecode(name)
    assert unescape_path(escape_path(text)) == text
    assert os.fsencode(unescape_path(escape_path(text).encode().decode())) == name


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("*.jpg",), (), ["cats/a.jpg", "cats/old/b.jpg", "dogs/c.jpg"]),
        (("*.jpg", "*.png"), (), ["cats/a.jpg", "cats/old/b.jpg", "dogs/c.jpg", "dogs/d.png"]),
        (("cats/*",), (), ["cats/a.jpg", "cats/old/b.jpg"]),
        (("a.*",), (), ["cats/a.jpg"]),
        ((), ("*.txt", "cats/old/*"), ["cats/a.jpg", "dogs/c.jpg", "dogs/d.png"]),
        (("*.jpg",), ("dogs/*",), ["cats/a.jpg", "cats/old/b.jpg"]),
        (("nothing",), (), []),
        ((), ("*",), []),
        (("[ab].jpg",), (), ["cats/a.jpg", "cats/old/b.jpg"]),
    ],
)
def test_include_and_exclude(
    tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    touch(tmp_path, "cats/a.jpg", "cats/old/b.jpg", "dogs/c.jpg", "dogs/d.png", "e.txt")
    assert keys(tmp_path, include=include, exclude=exclude) == expected
    assert list_folder(tmp_path, Filters(include, exclude)).count() == len(expected)


def test_filters_change_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "cats/a.jpg", "dogs/b.png")
    assert [item.label for item in items(tmp_path)] == ["cats", "dogs"]
    assert [item.label for item in items(tmp_path, include=("*.jpg",))] == ["cats"]


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The tests run as root, whom no mode keeps out: the folder b cannot be listed."""
    touch(tmp_path, "a/x.jpg", "b/y.jpg", "c/z.jpg")
    scandir = os.scandir
    folder = str(tmp_path / "b")

    def refuse(path: Any = ".") -> Any:
        if os.fspath(path).rstrip("/") == folder:
            raise PermissionError(13, "Permission denied", folder)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    yield folder
    monkeypatch.undo()  # before pytest removes the folder


def test_a_folder_that_cannot_be_listed_is_recorded_and_passed_over(tmp_path: Path, locked: str) -> None:
    listing = list_folder(tmp_path, Filters())
    assert [item.key for item in listing] == ["a/x.jpg", "c/z.jpg"]
    assert set(listing.unreadable) == {locked}


def test_a_folder_that_cannot_be_listed_is_recorded_once(tmp_path: Path, locked: str) -> None:
    listing = list_folder(tmp_path, Filters())
    assert listing.count() == 2
    assert len(list(listing)) == 2
    assert listing.unreadable == [locked]


def test_a_root_that_cannot_be_listed_is_an_error(tmp_path: Path, locked: str) -> None:
    with pytest.raises(InputError, match=r"The folder .*/b cannot be read: Permission denied\."):
        list_folder(tmp_path / "b", Filters())


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no folder .*/nowhere\."):
        collect(tmp_path / "nowhere")
    touch(tmp_path, "file")
    with pytest.raises(InputError, match="is neither a regular file nor a folder"):
        list_folder(tmp_path / "file", Filters())


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert items(tmp_path) == []


def test_collect_takes_a_folder_or_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photo(tmp_path / "a/b.jpg", 1)
    touch(tmp_path, "a/c.txt")
    listing = collect(tmp_path, exclude=["*.txt"])
    assert isinstance(listing, FolderListing)
    assert [item.key for item in listing] == ["a/b.jpg"]
    monkeypatch.chdir(tmp_path)
    single = collect("a/b.jpg")
    assert single.root == tmp_path / "a"
    (item,) = single
    assert (item.key, item.source, item.size) == (
        "b.jpg",
        str(tmp_path / "a/b.jpg"),
        (tmp_path / "a/b.jpg").stat().st_size,
    )


NAMES = st.text(
    st.sampled_from(["a", "b", "-", ".", "0", "A", "_", " ", "é", "日", "\\", "\n", "\udcff"]), min_size=1, max_size=3
)
PATHS = st.lists(NAMES.filter(lambda name: name[0] != "."), min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None)
@given(st.sets(PATHS, max_size=12))
def test_ids_are_complete_and_strictly_sorted(paths: set[str]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        written = set()
        for path in sorted(paths):
            try:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with (folder / path).open("xb"):
                    written.add(path)
            except OSError:
                pass  # it is a folder already, or one of its parents is a file
        found = [item.key for item in list_folder(folder, Filters())]
        encoded = [key.encode() for key in found]
        assert all(a < b for a, b in itertools.pairwise(encoded))
        assert {unescape_path(key) for key in found} == written
    finally:
        shutil.rmtree(os.fsencode(folder))


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_a_class_may_be_called_like_a_split(tmp_path: Path, name: str) -> None:
    root = touch(tmp_path, "car/1.jpg", "swimming/1.jpg", f"{name}/1.jpg")
    assert labels(root) == {
        "car/1.jpg": ("car", None),
        "swimming/1.jpg": ("swimming", None),
        f"{name}/1.jpg": (name, None),
    }
    touch(tmp_path, f"{name}/cats/1.jpg", f"{name}/dogs/1.jpg")
    assert labels(root)[f"{name}/cats/1.jpg"] == ("cats", name)


def test_a_name_that_is_too_long_to_be_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        collect(tmp_path / ("x" * 300))


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder to make deep ones in, which Python's own functions cannot remove."""
    folder = tmp_path / "photos"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def nest(folder: Path, depth: int) -> int:
    """Make folders "d" in each other; return the handle of the last one."""
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        outer = inner
        os.mkdir("d", dir_fd=outer)
        inner = os.open("d", os.O_RDONLY, dir_fd=outer)
        os.close(outer)
    return inner


def test_folders_may_lie_in_each_other_at_any_depth(deep: Path) -> None:
    photo = make_photo(deep / "top.png", 1).read_bytes()
    inner = nest(deep, 1100)
    with os.fdopen(os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=inner), "wb") as file:
        file.write(photo)
    os.close(inner)
    listing = collect(deep)
    assert [item.key for item in listing] == ["d/" * 1100 + "x.png", "top.png"]
    assert listing.count() == 2
    assert listing.unreadable == []


def test_a_folder_whose_path_is_too_long_for_the_system_is_told(deep: Path) -> None:
    make_photo(deep / "top.png", 1)
    os.close(nest(deep, 2200))
    listing = collect(deep)
    assert [item.key for item in listing] == ["top.png"]
    assert len(set(listing.unreadable)) == 1
