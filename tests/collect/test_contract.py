"""What every container must do, whoever writes the next: list in order, again and again, and read what it lists."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fxengine.collect import (
    CONTAINERS,
    Container,
    Listing,
    archive,
    bucket,
    collect,
    folder,
    load_container,
    paths,
    remote_list,
    text_files,
    text_table,
)
from fxengine.collect.item import Filters, Place, TextColumns, escape_path
from fxengine.errors import DecodeError, InputError
from fxengine.storage import open_bucket
from tests.buckets import NAME, Served, served
from tests.places import in_tar

# Checked by mypy: each module is what the table says it is.
MODULES: dict[str, Container] = {
    "archive": archive,
    "bucket": bucket,
    "remote_list": remote_list,
    "folder": folder,
    "paths": paths,
    "text_files": text_files,
    "text_table": text_table,
}
TABLES = {"text_table"}  # of which one file holds all inputs
SERVED: Served | None = None


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    global SERVED
    with pytest.MonkeyPatch.context() as patch, served(patch) as SERVED:
        yield
    SERVED = None


@dataclass(frozen=True)
class Case:
    """A place with 20 inputs.

    Attributes:
        place: where they are.
        files: id -> the file, or the key, that holds an input.
        contents: id -> what is read of it.
    """

    place: Place
    files: Mapping[str, Path | Key]
    contents: dict[str, bytes]


def of_files(place: Place, suffix: str) -> Case:
    found = {escape_path(str(path.relative_to(place.root))): path for path in place.root.rglob(f"*{suffix}")}
    return Case(place, found, {key: path.read_bytes() for key, path in found.items()})


def in_a_folder(photos: Path) -> Case:
    return of_files(Place(photos), ".jpg")


def in_an_archive(photos: Path) -> Case:
    root = photos.parent / "archives"
    for label in ("cats", "dogs"):
        (root / label).mkdir(parents=True)
        in_tar(photos / label, root / label / "a.tar")
    found = {f"{p.parent.name}/a.tar/{p.name}": p for p in photos.rglob("*.jpg")}
    files = {key: root / key.rpartition("/")[0] for key in found}
    return Case(Place(root, containers=True), files, {key: path.read_bytes() for key, path in found.items()})


def in_a_list(photos: Path) -> Case:
    listing = photos.parent / "list.txt"
    listing.write_text("".join(f"{path.relative_to(photos)}\n" for path in reversed(sorted(photos.rglob("*.jpg")))))
    return of_files(Place(photos, listing), ".jpg")


def texts_beside(photos: Path) -> dict[str, str]:
    return {f"{path.relative_to(photos)}": f"é, {path.stem}\n" for path in reversed(sorted(photos.rglob("*.jpg")))}


def in_text_files(photos: Path) -> Case:
    root = photos.parent / "texts"
    for name, text in texts_beside(photos).items():
        path = (root / name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return of_files(Place(root, modality="text"), ".txt")


def in_a_table(photos: Path) -> Case:
    table, texts = photos.parent / "texts.csv", texts_beside(photos)
    with table.open("w", newline="") as out:
        csv.writer(out).writerows([("id", "text"), *texts.items()])
    contents = {key: text.encode() for key, text in texts.items()}
    return Case(Place(table, modality="text", columns=TextColumns(id="id")), dict.fromkeys(texts, table), contents)


class Key:
    """A key of a bucket, as far as a file is asked for here."""

    def __init__(self, served: Served, key: str) -> None:
        self._served, self._key = served, key

    def stat(self) -> SimpleNamespace:
        return SimpleNamespace(st_mtime_ns=open_bucket("s3", NAME).stat(self._key).mtime_ns)

    def unlink(self) -> None:
        self._served.delete(self._key)


def in_a_bucket(photos: Path) -> Case:
    assert SERVED is not None
    SERVED.put_folder(photos, "photos/")
    found = {str(path.relative_to(photos)): path.read_bytes() for path in photos.rglob("*.jpg")}
    files = {key: Key(SERVED, f"photos/{key}") for key in found}
    return Case(Place(Path(f"s3:/{NAME}/photos")), files, found)


def in_a_list_of_keys(photos: Path) -> Case:
    case, listing = in_a_bucket(photos), photos.parent / "keys.txt"
    listing.write_text("".join(f"{key}\n" for key in sorted(case.contents, reverse=True)))
    return replace(case, place=replace(case.place, listing=listing))


CASES: dict[str, Callable[[Path], Case]] = {
    "archive": in_an_archive,
    "bucket": in_a_bucket,
    "remote_list": in_a_list_of_keys,
    "folder": in_a_folder,
    "paths": in_a_list,
    "text_files": in_text_files,
    "text_table": in_a_table,
}
containers = pytest.mark.parametrize("name", sorted(CONTAINERS))


def opened(name: str, case: Case) -> Listing:
    return load_container(name).open_listing(case.place)


def test_every_container_is_checked_here() -> None:
    assert MODULES.keys() == CASES.keys() == CONTAINERS.keys()


@containers
def test_it_is_chosen_for_its_own_places(photos: Path, name: str) -> None:
    case = CASES[name](photos)
    place = case.place
    first = next(each for each in CONTAINERS if load_container(each).takes(place))
    assert first == name
    found = collect(
        place.root, listing=place.listing, modality=place.modality, columns=place.columns, containers=place.containers
    )
    assert [*found] == [*opened(name, case)]
    of_pictures = replace(place, modality="picture")
    assert next(each for each in CONTAINERS if load_container(each).takes(of_pictures)) in {
        "archive",
        "bucket",
        "remote_list",
        "folder",
        "paths",
    }


@containers
def test_items_come_in_the_order_of_their_ids_each_time(photos: Path, name: str) -> None:
    case = CASES[name](photos)
    listing = opened(name, case)
    keys = [item.key for item in listing]
    assert keys == sorted(keys, key=str.encode)
    assert keys == sorted(case.contents)
    assert [*listing] == [*listing]
    assert listing.count() == len(keys) == 20
    assert listing.root == case.place.root
    assert listing.unreadable == []


@containers
def test_it_reads_what_it_lists(photos: Path, name: str) -> None:
    case = CASES[name](photos)
    listing = opened(name, case)
    for item in listing:
        payload, read = listing.read(item, 1 << 20)
        assert payload == case.contents[item.key]
        assert read == item
        assert (item.size, item.mtime_ns) == (len(payload), case.files[item.key].stat().st_mtime_ns)


@containers
def test_what_it_cannot_read_is_an_error_of_that_item(photos: Path, name: str) -> None:
    case = CASES[name](photos)
    listing = opened(name, case)
    items = [*listing]
    with pytest.raises(DecodeError, match=f"{items[0].size} bytes") as caught:
        listing.read(items[0], items[0].size - 1)
    assert caught.value.code == "too_large"
    case.files[items[1].key].unlink()
    if name in TABLES:  # which was read when it was opened
        assert listing.read(items[1], 1 << 20)[0] == case.contents[items[1].key]
        return
    with pytest.raises(DecodeError, match="not there") as caught:
        listing.read(items[1], 1 << 20)
    assert caught.value.code == "vanished"


@containers
def test_filters_leave_out(photos: Path, name: str) -> None:
    place = replace(CASES[name](photos).place, filters=Filters(("cats/*",), ("*5.*",)))
    if name in TABLES:
        with pytest.raises(InputError, match="`include` and `exclude` choose among files"):
            load_container(name).open_listing(place)
        return
    found = [item.key.replace("a.tar/", "").partition(".")[0] for item in load_container(name).open_listing(place)]
    assert found == sorted(f"cats/{i:02d}" for i in range(1, 20, 2) if i % 10 != 5)
