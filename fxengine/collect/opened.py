"""Containers and videos that are open: which files are some, and the few that were asked for last, kept open."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib import import_module
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from fxengine.collect.frames import KEYFRAMES
from fxengine.collect.item import TextColumns, stamp
from fxengine.collect.members import Member
from fxengine.collect.remote import note_container, open_ranges, stat_container
from fxengine.errors import InputError, reason
from fxengine.files import open_regular
from fxengine.storage import Found, is_remote, shown

# End of a container's name -> module and class that opens it. To add a format, write the class and name it here.
FORMATS = {
    ".tar": ("fxengine.collect.tar", "Tar"),
    ".tar.gz": ("fxengine.collect.tar", "Tar"),
    ".tgz": ("fxengine.collect.tar", "Tar"),
    ".zip": ("fxengine.collect.zipped", "Zipped"),
    ".parquet": ("fxengine.collect.picture_table", "PictureTable"),
}
VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv"),
    *(".flv", ".ogv"),
)
_VIDEO = ("fxengine.collect.video", "Video")
_INSTALL = "Videos need the package av (PyAV): pip install 'fxengine[video]'"
_OPEN = 8  # containers at once
_FRAMES = 4_000_000  # of videos at once, which take some 25 bytes each
_Key = tuple[str, int, int, str]  # place, size, mtime_ns, ETag
_archives: OrderedDict[_Key, Future[Archive]] = OrderedDict()
_videos: OrderedDict[tuple[str, int, int], Frames] = OrderedDict()
_opening = threading.Lock()  # a large one is not opened by two readers


class Archive(Protocol):
    """A class of `FORMATS`, made of what it is called in sentences, and the open file.

    Raises InputError where the file is no such, in a sentence, and OSError.

    Attributes:
        cut: what is missing at its end, a sentence, or "".
    """

    cut: str

    def members(self, *, texts: bool, columns: TextColumns) -> Iterator[Member]:
        """Yield the inputs in it, sorted by id; raises InputError where a column is missing or holds none."""

    def find(self, path: str, /) -> Member | None:
        """Return the member at a path inside, None where there is none."""

    def read(self, member: Member, max_bytes: int, /) -> bytes:
        """Return what a member holds, any thread may ask; raises DecodeError."""


def is_archive(name: str) -> bool:
    """Tell by a file's name whether it is a container."""
    return name.lower().endswith((*FORMATS,))


def is_video(name: str) -> bool:
    """Tell by a file's name whether it is a video."""
    return name.lower().endswith(VIDEOS)


def ensure_videos() -> None:
    """Raise InputError where there is nothing that decodes videos."""
    try:
        import_module(_VIDEO[0])
    except ImportError as error:
        raise InputError(f"{_INSTALL} ({reason(error)}).") from error


def usual_frames(frames: str | None, *, containers: bool, boxed: bool) -> str | None:
    """Return which frames are asked for: keyframes where containers are opened and nothing else is said.

    Where nothing decodes videos, these are files as others then.
    """
    if frames is not None or not containers or boxed:
        return frames
    try:
        ensure_videos()
    except InputError:
        return None
    return KEYFRAMES


class Frames(Protocol):
    """A video that is open: frames told by milliseconds.

    Attributes:
        cut: what is missing in it, a sentence, or "".
        size: bytes of the file.
    """

    cut: str
    size: int

    def __len__(self) -> int:
        """Return how many frames there are."""

    def times(self, rule: str, /) -> list[int]:
        """Return the milliseconds of the frames that a rule takes, ascending."""

    def has(self, time: int, /) -> bool:
        """Tell whether there is a frame at so many milliseconds."""

    def read(self, time: int, /) -> np.ndarray:
        """Return that frame, upright, RGB, uint8 [height, width, 3], any thread may ask; raises DecodeError."""

    def digest(self) -> str:
        """Return the SHA-256 of the file, in hex; raises OSError."""


def open_video(path: str) -> tuple[Frames, int]:
    """Return a video and the mtime_ns that it has now; raises InputError where it is none, and OSError."""
    ensure_videos()
    size, mtime_ns = stamp(os.stat(path))
    with _opening:
        return _open_video(path, size, mtime_ns), mtime_ns


class Opened(NamedTuple):
    """A container that is open.

    Attributes:
        archive: what is in it.
        mtime_ns: when it was written.
        etag: of one on a server, what that says changes with the content; else None.
    """

    archive: Archive
    mtime_ns: int
    etag: str | None = None


def open_archive(
    path: str, *, found: Found | None = None, url: str | None = None, private: bool = False, fresh: bool = False
) -> Opened:
    """Return a container as it is now.

    Args:
        path: the place.
        found: what its server has just said of it.
        url: its whole address on the web, with its query.
        private: whether it may lie at a private address.
        fresh: whether its server is asked anew, in place of what it said some seconds ago.

    Raises:
        InputError: it is none.
        OSError: it is not there, or cannot be read.
    """
    if not is_remote(path):
        size, mtime_ns = stamp(os.stat(path))
        return Opened(_archive((path, size, mtime_ns, ""), lambda: open_regular(Path(path), follow=True)), mtime_ns)
    if found is not None:
        note_container(path, found)
    told = found or stat_container(path, url=url, private=private, fresh=fresh)
    key = (path, told.size, told.mtime_ns, told.etag)
    return Opened(_archive(key, lambda: open_ranges(path, told, url=url, private=private)), told.mtime_ns, told.etag)


def holds_pictures(path: Path) -> bool:
    """Tell whether a file is a Parquet file with one or more columns of pictures."""
    try:
        return path.suffix.lower() == ".parquet" and bool(
            getattr(open_archive(str(path)).archive, "holds_pictures", False)
        )
    except (InputError, OSError):
        return False


def archive_above(path: str) -> tuple[str, str] | None:
    """Return a container that is a file, and what a path names inside of it; None where it leads through none.

    Raises OSError and InputError as `stat_container` does, where it may lead through one on a server.
    """
    container, inside = path, ""
    while (parent := os.path.dirname(container)) != container:  # noqa: PTH120 - of text, a thousand times a second
        inside = os.path.basename(container) + (f"/{inside}" if inside else "")  # noqa: PTH119
        container = parent
        if is_archive(container) and _is_file(container):
            return container, inside
    return None


def _is_file(path: str) -> bool:
    if not is_remote(path):
        return os.path.isfile(path)  # noqa: PTH113 - a name may be too long
    try:
        stat_container(path)
    except FileNotFoundError:
        return False
    return True


def _open_video(path: str, size: int, mtime_ns: int) -> Frames:
    """Return a video; those that were asked for last are kept, since listing one reads all of it."""
    video = _videos.pop((path, size, mtime_ns), None)
    if video is None:
        video = getattr(import_module(_VIDEO[0]), _VIDEO[1])(Path(path))
    _videos[path, size, mtime_ns] = video
    while len(_videos) > 1 and sum(map(len, _videos.values())) > _FRAMES:
        _videos.popitem(last=False)
    return video


def _archive(key: _Key, open_file: Callable[[], BufferedReader]) -> Archive:
    """Return a container; the few that were asked for last are kept. Who asks while one is opened waits for that."""
    with _opening:
        made = _archives.pop(key, None)
        is_new = made is None
        made = _archives[key] = made or Future()
        while len(_archives) > _OPEN:
            _archives.popitem(last=False)
    if is_new:
        try:
            made.set_result(_opened(key, open_file()))
        except BaseException as error:
            with _opening:
                if _archives.get(key) is made:
                    del _archives[key]
            made.set_exception(error)
    return made.result()


def _opened(key: _Key, file: BufferedReader) -> Archive:
    path = key[0].lower()
    module, name = next(FORMATS[end] for end in sorted(FORMATS, key=len, reverse=True) if path.endswith(end))
    archive: Archive = getattr(import_module(module), name)(shown(key[0]), file)
    return archive
