"""Takes the inputs from a list of paths: a text file, a CSV or a Parquet table."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fxengine.collect.item import Filters, Item, Payload, Place, escape_path, unescape_path
from fxengine.collect.stored import read_stored, stat_place
from fxengine.collect.table import (
    BYTE_ORDER_MARKS,
    TABLES,
    column_of,
    decode_text,
    id_columns,
    read_table,
    read_text_file,
)
from fxengine.errors import InputError, given, path_of
from fxengine.storage import is_remote


@dataclass
class PathListing:
    """The inputs that a list names; iterating yields `Item`s sorted by id, each path once.

    A path that is not there as it is written is looked for in other spellings: see `plain_path`.

    Attributes:
        root: folder that ids are relative to.
        paths: the paths as given, relative to `root` or absolute.
        filters: which of them count.
        unreadable: always empty; a path that is not there becomes an error row.
        labelled: a list tells no labels.
    """

    root: Path
    paths: list[str]
    filters: Filters = field(default_factory=Filters)
    unreadable: list[str] = field(default_factory=list)
    labelled: bool = False

    def __iter__(self) -> Iterator[Item]:
        names_in = cache(_names_in)
        written = {os.path.relpath(self.root / path, self.root).replace(os.sep, "/") for path in self.paths}
        relative = {_as_on_disk(self.root, path, names_in) for path in written}
        admitted = filter(self.filters.admit, relative)
        for path in sorted(admitted, key=lambda path: escape_path(path).encode()):
            yield stat_place(escape_path(path), str(self.root / path))

    def count(self) -> int:
        """Return how many paths the list names, doubles included."""
        return len(self.paths)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return the file's bytes; raises DecodeError as `read_stored` does."""
        return read_stored(item, max_bytes)


def takes(place: Place) -> bool:
    """Tell whether it lists such a place: a list of paths, or a single file."""
    return place.listing is not None or place.root.is_file()


def open_listing(place: Place) -> PathListing:
    """Return what the list names, or the one file; raises InputError as `list_paths` does."""
    if place.listing is not None:
        found = list_paths(place.listing, place.root, place.filters)
        if "://" in found.paths[0] and is_remote(found.paths[0]):
            raise InputError(
                f"The list {place.listing} names what lies on servers, and {place.root} on a disk: give what all of it "
                "lies in, such as https://, as `inputs`."
            )
        return found
    return PathListing(place.root.parent, [place.root.name])


def list_paths(listing: Path, root: Path, filters: Filters | None = None) -> PathListing:
    """Return the inputs that the file `listing` names.

    Args:
        listing: .txt (a path a line), or .csv, .tsv or .parquet: a column with one of the names in `ID_COLUMNS`, or the
            only column, with or without a header.
        root: folder that relative paths are relative to.
        filters: which of them count; all unless given.

    Raises:
        InputError: the list cannot be read, has no such column, or is empty.
    """
    if not listing.is_file():
        raise InputError(f"There is no list {listing}.")
    paths = _column(listing, root) if listing.suffix.lower() in TABLES else _lines(listing)
    if not paths:
        raise InputError(f"The list {listing} names no file.")
    return PathListing(root, paths, filters or Filters())


def plain_path(path: str) -> str:
    r"""Return the one spelling of all that a path is given in.

    With "/" instead of "\", without "./" and spaces around it, in Unicode's composed form, and with bytes that are not
    UTF-8 (surrogates in Python's file names) read as Windows-1252.
    """
    read = re.sub("[\udc80-\udcff]", lambda m: bytes([ord(m[0]) & 0xFF]).decode("cp1252", "replace"), path)
    return posixpath.normpath(unicodedata.normalize("NFC", read).strip().replace("\\", "/"))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long to be one
        return False


def _column(listing: Path, root: Path) -> list[str]:
    called = f"The list {listing}"
    table, _ = read_table(listing, called=called, is_id=lambda cell: _is_file(root / cell))
    names = id_columns(table.column_names) or (table.column_names if table.num_columns == 1 else [])
    if not names:
        raise InputError(f"{called} has no column 'path'. It has: {', '.join(table.column_names)}.")
    return [
        str(value)
        for value in column_of(table, names[0], f"the list {listing}").to_pylist()
        if value is not None and str(value).strip()
    ]


def _lines(listing: Path) -> list[str]:
    data = read_text_file(listing, f"The list {listing}")
    if data.startswith(BYTE_ORDER_MARKS):
        data = decode_text(data, f"The list {listing}")[0].encode()
    return [os.fsdecode(line) for line in data.splitlines() if line.strip()]


def _as_on_disk(root: Path, path: str, names_in: Callable[[Path], dict[str, str]]) -> str:
    """Return the path in the spelling that is there, or as it is where there is none or more than one."""
    if (path.isascii() and "\\" not in path) or os.path.lexists(root / path):
        return path
    if os.path.lexists(root / unescape_path(path)):  # it is an id of a store
        return unescape_path(path)
    found = list[str]()
    for name in plain_path(path).split("/"):
        there = name if name == ".." else names_in(root.joinpath(*found)).get(name)
        if there is None:
            return path
        found.append(there)
    return "/".join(found)


def _names_in(folder: Path) -> dict[str, str]:
    """Return plain spelling -> name of everything in a folder; what two names share is left out."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return {}
    times = Counter(map(plain_path, names))
    return {plain_path(name): name for name in names if times[plain_path(name)] == 1}


def several(name: str, value: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the paths of one or of several, which the parameter `name` was given; raises InputError on others."""
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return [path_of(name, value)]
    return [path_of(name, path) for path in value]


def names_of(name: str, value: str | Iterable[str]) -> tuple[str, ...]:
    """Return one text, or several, which the parameter `name` was given, as several; raises InputError on others."""
    texts = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"`{name}` must be text or a list of texts. Got {given(text)}.")
    return texts
