"""Lists text files, a text each: a folder of .txt files, or those that a list names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fxengine.collect.folder import FolderListing, list_folder
from fxengine.collect.item import Item, Payload, Place, TextColumns, columns_refused
from fxengine.collect.paths import PathListing, list_paths
from fxengine.collect.stored import read_file_at
from fxengine.collect.table import marked_encoding
from fxengine.collect.table_rows import READERS
from fxengine.errors import DecodeError, InputError

SUFFIXES = frozenset([".txt"])  # for the question which folders are classes
TEXTS = ("*.[tT][xX][tT]",)


@dataclass
class TextFiles:
    """Text files as another listing lists them; what they hold is checked, and comes as UTF-8.

    Attributes:
        files: the files.
        root: folder that ids are relative to.
        labelled: whether folders tell labels.
        unreadable: folders that could not be listed, filled while iterating.
    """

    files: FolderListing | PathListing
    root: Path = field(init=False)
    labelled: bool = field(init=False)
    unreadable: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.root, self.labelled, self.unreadable = self.files.root, self.files.labelled, self.files.unreadable

    def __iter__(self) -> Iterator[Item]:
        yield from self.files

    def count(self) -> int:
        """Return about how many files there are."""
        return self.files.count()

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return a file's text in UTF-8 without its byte order mark; the item has size and time of the file.

        Raises:
            DecodeError: as `stored.read_file_at` does; it is blank (`empty`), or not UTF-8, nor UTF-16 or UTF-32 with a
                byte order mark (`not_text`).
        """
        return read_text_input(item, max_bytes)


def read_text_input(item: Item, max_bytes: int) -> tuple[bytes, Item]:
    """Return a file's text in UTF-8, and the item with the size and time that the file had; raises DecodeError as
    `stored.read_file_at` and `utf8_of` do.
    """
    data, read = read_file_at(item.source, max_bytes)
    return utf8_of(data), item._replace(size=read[0], mtime_ns=read[1])


def utf8_of(data: bytes) -> bytes:
    """Return a file's text in UTF-8 without its byte order mark; raises DecodeError where it is blank, or no text."""
    mark, encoding = marked_encoding(data) or (b"", "utf-8")
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise DecodeError(
            "not_text", f"It is not {encoding.upper()}: {error.reason} at byte {len(mark) + error.start}."
        ) from error
    if "\0" in text:
        raise DecodeError("not_text", "It holds zero bytes, as no text does.")
    if not text or text.isspace():
        raise DecodeError("empty", "The text is empty.")
    return text.encode()


def takes(place: Place) -> bool:
    """Tell whether it lists such a place: all texts that are no table."""
    return place.modality == "text"


def open_listing(place: Place) -> TextFiles:
    """Return the text files of a folder, all .txt unless the filters say otherwise, or those that a list names.

    Raises:
        InputError: it is a file that holds no texts, columns were named, or as `list_folder` and `list_paths` do.
    """
    if place.listing is None and place.root.exists() and not place.root.is_dir():
        raise InputError(f"{place.root} is no folder, and none of the files that hold texts: {', '.join(READERS)}.")
    if place.columns != TextColumns():
        raise columns_refused(f"{place.root} is a folder of texts.")
    if place.listing is not None:
        return TextFiles(list_paths(place.listing, place.root, place.filters))
    filters = place.filters if place.filters.include else replace(place.filters, include=TEXTS)
    return TextFiles(list_folder(place.root, filters, SUFFIXES))
