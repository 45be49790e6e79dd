"""Lists what is in a tar, a zip, a Parquet file of pictures or a video, or in a folder with such files among others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from fxengine.collect.folder import FolderListing, list_folder
from fxengine.collect.frames import KEYFRAMES, TIME, fragment
from fxengine.collect.inside import items_in
from fxengine.collect.item import Filters, Item, Payload, Place, TextColumns, escape_path, stamp
from fxengine.collect.members import TEXT
from fxengine.collect.opened import ensure_videos, holds_pictures, is_archive, is_video, open_video
from fxengine.collect.remote import kind_of, refused
from fxengine.collect.stored import read_stored
from fxengine.collect.text_files import utf8_of
from fxengine.errors import InputError
from fxengine.storage import BUCKETS, is_remote, shown
from fxengine.storage import split as split_place

_FRAMES = f"{TIME}/"  # how the listing of a folder says that a file is a video: sorted where its frames are
_TEXTS = ("*.[tT][xX][tT]",)


@dataclass
class ArchiveListing:
    """The inputs in containers: in one of them, or in those of a folder, beside its other files; sorted by id.

    An id is the container's path and the member's. Memory is that of the members of a few containers.

    Attributes:
        root: the folder that ids are relative to: of one container, the folder that it is in.
        files: the folder's files, or None where `only` is all there is.
        only: name of the one container, or "".
        place: what it was asked for.
        labelled: labels and splits are told by folders, and by what stands beside the members.
        unreadable: folders that could not be listed, and containers that are cut short, filled while iterating.
    """

    root: Path
    files: FolderListing | None
    only: str
    place: Place
    labelled: bool = True
    unreadable: list[str] = field(default_factory=list)

    @property
    def opens_archives(self) -> bool:
        """Whether what is in tars, zips and Parquet files is listed."""
        return self.place.containers or (self.files is None and not is_video(self.only))

    @property
    def frames(self) -> str:
        """Which frames of videos are listed, "" where videos are not opened."""
        return self.place.frames or (KEYFRAMES if is_video(self.only) else "")

    def __iter__(self) -> Iterator[Item]:
        if self.files is None and is_video(self.only):
            yield from self._frames(self.only, str(self.root / self.only), None, None)
            return
        if self.files is None:
            yield from items_in(self.place, self.only, str(self.root / self.only), self._tell)
            return
        video = ""
        for path, entry, label, split in self.files.files():
            if path.endswith(_FRAMES):
                video = path.removesuffix("/")
                yield from self._in_video(path.removesuffix(_FRAMES), entry, label, split)
            elif path.endswith("/"):
                yield from self._in_folder(path[:-1], entry, label, split)
            elif video and path.startswith(video):
                self._tell(f"{entry.path}, which is both a file and a frame of the video beside it: rename it")
            else:
                yield _item(path, entry, label, split)

    def count(self) -> int:
        """Return how many inputs there are."""
        return sum(1 for _ in self)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return what an item holds; raises DecodeError as `stored.read_stored` and `utf8_of` do."""
        payload, read = read_stored(item, max_bytes)
        return (utf8_of(payload) if isinstance(payload, bytes) and self.place.modality == "text" else payload), read

    def _in_folder(self, path: str, entry: os.DirEntry[str], label: str | None, split: str | None) -> Iterator[Item]:
        """Yield what is in a container of a folder; one that is none, or holds no pictures, is a file as others."""
        try:
            found = items_in(self.place, path, entry.path, self._tell, label, split)
            first = next(found, None)
        except (InputError, OSError):
            if self.place.filters.admit(path) and self.place.modality == "picture":
                yield _item(path, entry, label, split)
            return
        if first is not None:
            yield first
            yield from found

    def _in_video(self, path: str, entry: os.DirEntry[str], label: str | None, split: str | None) -> Iterator[Item]:
        """Yield the frames of a video of a folder; a file that is none is a file as others."""
        if not self.place.filters.admit(path):
            return
        try:
            found = self._frames(path, entry.path, label, split)
            first = next(found, None)
        except (InputError, OSError):
            first = None
        if first is None:
            yield _item(path, entry, label, split)
            return
        yield first
        yield from found

    def _frames(self, path: str, source: str, label: str | None, split: str | None) -> Iterator[Item]:
        video, mtime_ns = open_video(source)
        self._tell(video.cut)
        # In the order of their ids, which is that of the text: 10.000 stands before 9.000.
        for of_frame in sorted(map(fragment, video.times(self.frames))):
            if os.path.lexists(source + of_frame):  # a place is one thing: neither is an input until one is renamed
                self._tell(f"{source}{of_frame}, which is both a file and a frame of the video beside it: rename it")
                continue
            yield Item(escape_path(path) + of_frame, source + of_frame, video.size, mtime_ns, label, split)

    def _tell(self, sentence: str) -> None:
        if sentence and sentence not in self.unreadable:
            self.unreadable.append(sentence)


def takes(place: Place) -> bool:
    """Tell whether it lists such a place: a container, or a folder whose containers are to be opened."""
    if place.listing is not None:
        return False
    if is_remote(place.root):
        return _is_on_server(place)
    if (place.containers or place.frames is not None) and place.root.is_dir():
        return True
    if is_video(place.root.name) and place.root.is_file():
        return place.modality == "picture"
    if not is_archive(place.root.name) or not place.root.is_file():
        return False
    if place.root.suffix.lower() == ".parquet":  # else one of texts, or a store's part
        return place.modality == "picture" and (place.columns.text is not None or holds_pictures(place.root))
    return True


def _is_on_server(place: Place) -> bool:
    """Tell whether a place is a container that lies in a bucket; an address of the web is a list of one."""
    is_other = place.modality == "text" and place.root.suffix.lower() == ".parquet"  # a table of texts
    in_bucket = split_place(place.root)[0] in BUCKETS and is_archive(place.root.name) and not is_other
    return in_bucket and kind_of(str(place.root)) == "file"


def open_listing(place: Place) -> ArchiveListing:
    """Return the inputs in a container, or in a folder with containers.

    Raises:
        InputError: it is no such container, holds nothing that is wanted, or a column is missing or holds no pictures.
    """
    if place.root.is_dir():
        filters = place.filters
        if place.modality == "text" and not filters.include:
            filters = replace(filters, include=_TEXTS)
        files = replace(list_folder(place.root, filters), mark=partial(_mark, place))
        listing = ArchiveListing(place.root, files, "", replace(place, filters=filters))
        listing.unreadable = files.unreadable
        return listing
    called = shown(place.root)
    if is_video(place.root.name):
        ensure_videos()
    if place.root.suffix.lower() != ".parquet" and place.columns != TextColumns():
        raise InputError(f"{called} has no columns: name none.")
    listing = ArchiveListing(place.root.parent, None, place.root.name, place)
    unfiltered = replace(listing, place=replace(place, filters=Filters()), unreadable=[])
    items = iter(unfiltered)
    try:
        first = next(items, None)
    except OSError as error:
        raise (refused(place.root, error) if is_remote(place.root) else error) from error
    if first is None:
        noun = "text (.txt)" if place.modality == "text" else "picture"
        raise InputError(". ".join([f"{called} holds no {noun}", *unfiltered.unreadable]) + ".")
    if place.modality == "picture" and all(item.key.lower().endswith(TEXT) for item in chain([first], items)):
        raise InputError(f"{called} holds no picture, but texts ({TEXT}): name a backbone of texts as `backbone`.")
    return listing


def _mark(place: Place, name: str) -> str:
    """Return what stands behind a file's name in the ids of what it holds, "" where it is not opened."""
    if place.containers and is_archive(name):
        return "/"
    return _FRAMES if place.frames is not None and is_video(name) else ""


def _item(path: str, entry: os.DirEntry[str], label: str | None, split: str | None) -> Item:
    try:
        return Item(escape_path(path), entry.path, *stamp(entry.stat()), label, split)
    except OSError:
        return Item(escape_path(path), entry.path, -1, 0, label, split)
