"""What every container must do, whoever writes the next: list in order, again and again, and read what it lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fxengine.collect import CONTAINERS, Container, Listing, collect, folder, load_container, paths
from fxengine.collect.item import Filters, Place, escape_path
from fxengine.errors import DecodeError

# Checked by mypy: each module is what the table says it is.
MODULES: dict[str, Container] = {"folder": folder, "paths": paths}


def in_a_folder(root: Path) -> Place:
    return Place(root)


def in_a_list(root: Path) -> Place:
    listing = root.parent / "list.txt"
    listing.write_text("".join(f"{path.relative_to(root)}\n" for path in reversed(sorted(root.rglob("*.jpg")))))
    return Place(root, listing)


PLACES: dict[str, Callable[[Path], Place]] = {"folder": in_a_folder, "paths": in_a_list}
containers = pytest.mark.parametrize("name", sorted(CONTAINERS))


def opened(name: str, root: Path) -> Listing:
    return load_container(name).open_listing(PLACES[name](root))


def test_every_container_is_checked_here() -> None:
    assert MODULES.keys() == PLACES.keys() == CONTAINERS.keys()


@containers
def test_it_is_chosen_for_its_own_places(photos: Path, name: str) -> None:
    place = PLACES[name](photos)
    first = next(each for each in CONTAINERS if load_container(each).takes(place))
    assert first == name
    assert [*collect(place.root, listing=place.listing)] == [*opened(name, photos)]


@containers
def test_items_come_in_the_order_of_their_ids_each_time(photos: Path, name: str) -> None:
    listing = opened(name, photos)
    keys = [item.key for item in listing]
    assert keys == sorted(keys, key=str.encode)
    assert keys == sorted(escape_path(str(path.relative_to(photos))) for path in photos.rglob("*.jpg"))
    assert [*listing] == [*listing]
    assert listing.count() == len(keys) == 20
    assert listing.root == photos
    assert listing.unreadable == []


@containers
def test_it_reads_what_it_lists(photos: Path, name: str) -> None:
    listing = opened(name, photos)
    for item in listing:
        payload, read = listing.read(item, 1 << 20)
        assert payload == (photos / item.key).read_bytes()
        assert read == item
        assert (item.size, item.mtime_ns) == (len(payload), (photos / item.key).stat().st_mtime_ns)


@containers
def test_what_it_cannot_read_is_an_error_of_that_item(photos: Path, name: str) -> None:
    listing = opened(name, photos)
    items = [*listing]
    with pytest.raises(DecodeError, match=f"{items[0].size} bytes") as caught:
        listing.read(items[0], items[0].size - 1)
    assert caught.value.code == "too_large"
    (photos / items[1].key).unlink()
    with pytest.raises(DecodeError, match="not there") as caught:
        listing.read(items[1], 1 << 20)
    assert caught.value.code == "vanished"


@containers
def test_filters_leave_out(photos: Path, name: str) -> None:
    place = PLACES[name](photos)
    filtered = Place(place.root, place.listing, Filters(("cats/*",), ("*5.jpg",)))
    found = [item.key for item in load_container(name).open_listing(filtered)]
    assert found == sorted(f"cats/{i:02d}.jpg" for i in range(1, 20, 2) if i % 10 != 5)
