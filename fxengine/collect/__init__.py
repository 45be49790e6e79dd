"""Collecting: what to extract from, as a sorted listing of items that is read more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from fxengine.collect.boxes import BoxListing
from fxengine.collect.frames import check_rule
from fxengine.collect.item import Filters, Item, Payload, Place, TextColumns, columns_refused
from fxengine.collect.opened import ensure_videos
from fxengine.errors import InputError
from fxengine.storage import absolute

__all__ = ["CONTAINERS", "Container", "Filters", "Listing", "TextColumns", "collect", "load_container"]

# To add a kind of container: write collect/<file>.py with takes(place) and open_listing(place), and name it here,
# before those that would take it, too.
CONTAINERS = {
    "archive": "fxengine.collect.archive",
    "text_table": "fxengine.collect.text_table",
    "remote_list": "fxengine.collect.remote_list",
    "bucket": "fxengine.collect.bucket",
    "text_files": "fxengine.collect.text_files",
    "paths": "fxengine.collect.paths",
    "folder": "fxengine.collect.folder",
}


@runtime_checkable
class Listing(Protocol):
    """A sorted listing of inputs below one root.

    Attributes:
        root: folder that ids are relative to, or the table that they stand in.
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
    source: str | Path,
    *,
    listing: Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    modality: str = "picture",
    columns: TextColumns = TextColumns(),  # noqa: B008 - frozen
    containers: bool = False,
    boxes: Path | None = None,
    margin: float = 0.0,
    frames: str | None = None,
    allow_private: bool = False,
) -> Listing:
    """Return the inputs in a folder or a container, those that a list names, a single file, or a table's rows.

    Args:
        source: a folder, one picture, a tar, a zip, a Parquet file of pictures, a video, or a table of texts; a folder
            or a key of a bucket, or an address.
        listing: a file that names paths, relative to `source`.
        include: patterns of which a file must fit one.
        exclude: patterns of which a file must fit none.
        modality: what the inputs are: "picture" or "text".
        columns: what is what in a table of texts, or in a Parquet file of pictures.
        containers: whether tars, zips and Parquet files of pictures in a folder are opened, too.
        boxes: a file or folder of boxes in the pictures: a row is a box then.
        margin: what is taken around a box, as a share of its edges.
        frames: which frames of videos, "keyframes" (at least a second apart), "every", or a rate such as "1/s"; videos
            in a folder are opened then, too. Keyframes unless given.
        allow_private: whether addresses of the web may be those of private networks.

    Raises:
        InputError: the folder, the list or the table is not there or cannot be read, or what is asked for does not
            suit it.
    """
    filters = Filters(tuple(include), tuple(exclude))
    asked = Place(
        Path(absolute(source)), listing, filters, modality, columns, containers, check_rule(frames), allow_private
    )
    if frames is not None:
        _ensure_frames(asked, boxes)
    if listing is not None and asked.root.is_file():
        raise InputError(
            f"`listing` names files in a folder, and {source} is a file: give the folder that they are in, or leave "
            "the list away."
        )
    try:
        name, chosen = next((n, each) for n in CONTAINERS if (each := load_container(n)).takes(asked))
        if columns != TextColumns() and modality != "text" and name != "archive":
            raise columns_refused(f"{source} is asked for {modality}s.")
        found = chosen.open_listing(asked)
        if boxes is None:
            return found
        if modality != "picture":
            raise InputError("`boxes` lie in pictures, and the backbone takes texts: leave them away.")
        return BoxListing(found, boxes, margin)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}.") from error


def _ensure_frames(place: Place, boxes: Path | None) -> None:
    """Raise InputError where there can be no frames."""
    if place.modality != "picture":
        raise InputError("`frames` are those of videos, and the backbone takes texts: leave them away.")
    if boxes is not None or place.listing is not None:
        other = "`boxes` lie in pictures" if boxes is not None else "`listing` names files"
        raise InputError(f"{other}, `frames` in videos: leave one of the two away.")
    ensure_videos()
