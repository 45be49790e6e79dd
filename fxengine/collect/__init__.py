"""Collecting: what to extract from, as a sorted listing of items that is read more than once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from fxengine.collect.item import Filters, Item, Payload, Place
from fxengine.errors import InputError

__all__ = ["CONTAINERS", "Container", "Filters", "Listing", "collect", "load_container"]

# To add a kind of container: write collect/<file>.py with takes(place) and open_listing(place), and name it here,
# before those that would take it, too.
CONTAINERS = {
    "paths": "fxengine.collect.paths",
    "folder": "fxengine.collect.folder",
}


@runtime_checkable
class Listing(Protocol):
    """A sorted listing of inputs below one root.

    Attributes:
        root: folder that ids are relative to.
        labelled: whether it knows labels and splits.
        unreadable: folders that could not be listed.
    """

    root: Path
    labelled: bool
    unreadable: list[str]

    def __iter__(self) -> Iterator[Item]: ...

    def count(self) -> int:
        """Return about how many inputs there are, cheaply."""

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return what an item of this listing holds, and the item as it was when it was read; any thread may ask.

        Raises:
            DecodeError: it is gone, may not be read, is larger than `max_bytes`, or reading failed.
        """


class Container(Protocol):
    """A module of `CONTAINERS`."""

    def takes(self, place: Place, /) -> bool:
        """Tell whether it lists such a place."""

    def open_listing(self, place: Place, /) -> Listing:
        """Return the listing; raises InputError where it is not there or cannot be read."""


def load_container(name: str) -> Container:
    """Return the container called `name`, one of `CONTAINERS`."""
    module: Container = import_module(CONTAINERS[name])
    return module


def collect(
    source: str | Path, *, listing: Path | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Listing:
    """Return the inputs in a folder, those that a list names, or a single file.

    Args:
        source: a folder, or one picture.
        listing: a file that names paths, relative to `source`.
        include: patterns of which a file must fit one.
        exclude: patterns of which a file must fit none.

    Raises:
        InputError: the folder or the list is not there or cannot be read.
    """
    asked = Place(Path(os.path.abspath(source)), listing, Filters(tuple(include), tuple(exclude)))
    try:
        return next(each for each in map(load_container, CONTAINERS) if each.takes(asked)).open_listing(asked)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}.") from error
