"""Collecting: what to extract from, as a sorted listing of items that is read more than once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fxengine.collect.folder import Filters, list_folder
from fxengine.collect.item import Item
from fxengine.collect.paths import PathListing, list_paths

__all__ = ["Filters", "Listing", "collect"]


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
    root = Path(os.path.abspath(source))
    filters = Filters(tuple(include), tuple(exclude))
    if listing is not None:
        return list_paths(listing, root, filters)
    if root.is_file():
        return PathListing(root.parent, [root.name])
    return list_folder(root, filters)
