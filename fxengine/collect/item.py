"""One input as the engine knows it: its id, where it is read, and what its folders say of it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fxengine.errors import InputError

XYWH = "#xywh="  # begins the W3C media fragment of a box, behind the place of its picture


class Crop(NamedTuple):
    """A box of a picture.

    Attributes:
        data: the picture's encoded bytes.
        region: left, top, width and height in upright pixels, parted by commas; behind "percent:" in hundredths.
    """

    data: bytes
    region: str

    @property
    def nbytes(self) -> int:
        """The bytes of the picture."""
        return len(self.data)

    def sides(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return left, top, width and height in pixels of a picture that is `width` x `height`."""
        x, y, across, down = map(float, self.region.removeprefix("percent:").split(","))
        if not self.region.startswith("percent:"):
            return x, y, across, down
        return x * width / 100, y * height / 100, across * width / 100, down * height / 100


# What an input holds: encoded bytes, of a box with where it lies, or RGB pixels, uint8 [height, width, 3], where a
# container decodes itself.
Payload = bytes | Crop | np.ndarray

# Name of a split, in lower case -> what its rows are for. The store keeps the name that the folder has.
SPLITS: dict[str, Literal["train", "val", "test"]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class Item(NamedTuple):
    """One input, as `collect` lists it; a named tuple, since a run makes one for every file.

    Attributes:
        key: the row's id: path relative to the root, with "/" and escaped by `escape_path`; of a table's row, what its
            column of ids says.
        source: the place to read, as `collect.stored.read_place` takes it: a path, which may lead into a container; of
            a table's row, the table's path, "#" and the number of the record.
        size: bytes, or -1 where it could not be asked.
        mtime_ns: time of the last change in nanoseconds, or 0; of what lies in a container, that of the container.
        label: class folder, or None.
        split: one of `SPLITS` where the folders say so, or None.
        content_hash: SHA-256 in hex, where the listing has read the content already, or None.
        etag: of what lies on a server what it says changes with the content, "" where it says nothing; else None.
    """

    key: str
    source: str
    size: int
    mtime_ns: int
    label: str | None = None
    split: str | None = None
    content_hash: str | None = None
    etag: str | None = None


LARGEST = 2**63 - 1  # that a column of a store holds


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return (size, mtime_ns) of a file as a store holds them: what int64 cannot hold becomes the nearest that it can.

    File systems and Python know times before 1677 and after 2262, whose nanoseconds take more than 64 bits. Everything
    that fills an `Item` takes them from here, so that an unchanged file compares equal in the next run.
    """
    size, mtime_ns = status.st_size, status.st_mtime_ns
    if 0 <= size <= LARGEST and -LARGEST <= mtime_ns <= LARGEST:  # the rule, asked for every file of a listing
        return size, mtime_ns
    return max(-(2**63), min(LARGEST, size)), max(-(2**63), min(LARGEST, mtime_ns))


@dataclass(frozen=True)
class Filters:
    """Which files of a folder are inputs.

    Attributes:
        include: a file counts if its path or name fits one of these patterns; empty means all.
        exclude: unless it fits one of these.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admit(self, path: str) -> bool:
        """Tell whether the file at `path`, relative to the root, is an input."""
        if not self.include and not self.exclude:
            return True
        name = path.rpartition("/")[2]
        if self.include and not any(fnmatch(path, p) or fnmatch(name, p) for p in self.include):
            return False
        return not any(fnmatch(path, p) or fnmatch(name, p) for p in self.exclude)


@dataclass(frozen=True)
class TextColumns:
    """Names of the columns of a table of texts; None where there is no such column, or `text` can be told without.

    Attributes:
        text: what is embedded.
        id: the rows' ids.
        label: their labels.
        split: their splits.
    """

    text: str | None = None
    id: str | None = None
    label: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Place:
    """What a listing is asked for.

    Attributes:
        root: absolute path of a folder or of one file, or a remote place.
        listing: a file that names inputs, relative to `root`; None where `root` itself says them.
        filters: which files count.
        modality: what the inputs are, a name of `decode.MODALITIES`.
        columns: what is what in a table of texts, or of pictures.
        containers: whether tars, zips and Parquet files of pictures that lie in a folder are opened, too.
        frames: which frames of videos are inputs, as `frames.check_rule` takes it; None where videos that lie in a
            folder are not opened.
        allow_private: whether addresses of the web may be those of private networks.
    """

    root: Path
    listing: Path | None = None
    filters: Filters = field(default_factory=Filters)
    modality: str = "picture"
    columns: TextColumns = TextColumns()
    containers: bool = False
    frames: str | None = None
    allow_private: bool = False


def columns_refused(why: str) -> InputError:
    """Return what to raise where columns are named that cannot be used; `why` is a sentence."""
    return InputError(f"{why} Columns are named for tables of texts, and Parquet files of pictures: name none.")


def sha256_of(payload: Payload) -> str:
    """Return the SHA-256 of what an input holds, in hex: a row's `content_hash`."""
    if isinstance(payload, Crop):  # a picture that is renamed has the same boxes
        return hashlib.sha256(f"{sha256_of(payload.data)}{XYWH}{payload.region}".encode()).hexdigest()
    return hashlib.sha256(payload if isinstance(payload, bytes) else payload.data).hexdigest()


def escape_path(path: str) -> str:
    r"""Return a path as text that any UTF-8 column holds and `unescape_path` turns back.

    A backslash becomes `\\`; a byte that is not UTF-8 (a surrogate in Python's file names) becomes `\xNN`.
    """
    if "\\" not in path and path.isprintable():
        return path
    escaped = path.replace("\\", "\\\\")
    return re.sub("[\ud800-\udfff]", lambda m: f"\\x{ord(m[0]) & 0xFF:02x}", escaped)


def unescape_path(key: str) -> str:
    """Return the path that `escape_path` was given."""
    if "\\" not in key:
        return key
    return re.sub(r"\\(\\|x([0-9a-f]{2}))", lambda m: "\\" if m[1] == "\\" else chr(0xDC00 | int(m[2], 16)), key)
