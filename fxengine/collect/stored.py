"""Where the inputs of a store lie, and how a place is read: a file, or what lies in a container.

A place is text: a path, which may lead on into a container ("shard.tar/a.jpg"),
to a box of a picture ("a.jpg#xywh=160,120,320,240"), or to a frame of a video ("clip.mp4#t=12.480"). A root and an id
make one, and it says all that is needed to read it again: verification, queries, pages and duplicates have nothing
else. What a store says of its root is believed only where this user named the folder.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from fxengine.collect.frames import TIME, fragment, frame_hash, time_in
from fxengine.collect.item import XYWH, Crop, Item, Payload, sha256_of, stamp, unescape_path
from fxengine.collect.local import read_file, stat_item
from fxengine.collect.opened import archive_above, is_video, open_archive, open_video
from fxengine.collect.remote import (
    ensure_answered,
    forget_container,
    kind_of,
    open_remote,
    read_remote,
    stat_remote,
)
from fxengine.errors import DecodeError, InputError, reason
from fxengine.files import open_regular
from fxengine.storage import WEB, absolute, is_remote, shown, split
from fxengine.trust import within_named

_SHOWN = 200  # characters of a folder
_FRAME = 3840 * 2160 * 3  # bytes
_SIDE = r"-?\d+(?:\.\d+)?(?:e[-+]?\d{1,3})?"
_BOX = re.compile(rf"(.+){XYWH}((?:percent:)?{_SIDE},{_SIDE},{_SIDE},{_SIDE})", re.DOTALL)


def stored_path(root: str, key: str) -> str:
    """Return the place of a row; a ".." goes before any link is followed, as `ensure_named` has looked at it."""
    return os.path.normpath(Path(root) / unescape_path(key))


def read_place(place: str | os.PathLike[str], max_bytes: int) -> tuple[Payload, tuple[int, int]]:
    """Return what a place holds, and the (size, mtime_ns) that its item has.

    Raises:
        DecodeError: it is gone, may not be read, is larger than `max_bytes`, or damaged.
    """
    path = os.fspath(place)
    if (box := _box_in(path)) is not None:
        data, stamped = read_file_at(box[0], max_bytes)
        return Crop(data, box[1]), stamped
    if (frame := _frame_in(path)) is not None:
        with _told("Its video"):
            video, mtime_ns = open_video(frame[0])
        return video.read(frame[1]), (video.size, mtime_ns)
    return read_file_at(path, max_bytes)


def read_file_at(path: str, max_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """Return the bytes of a file, or of a member of a container, as `read_place` does."""
    if (found := container_above(path)) is not None:
        return read_member(*found, max_bytes)
    if is_remote(path):
        data, told = read_remote(path, max_bytes)
        return data, (told.size, told.mtime_ns)
    return read_file(path, max_bytes)


def container_above(path: str) -> tuple[str, str] | None:
    """Return what `archive_above` does; raises DecodeError where a server does not say whether it is one, and
    InputError where it has not answered for long.
    """
    try:
        return archive_above(path)
    except OSError as error:
        if is_remote(path):
            ensure_answered(path)
        raise DecodeError("io", f"Its container cannot be read: {reason(error)}.") from error


def read_member(
    container: str, inside: str, max_bytes: int, *, url: str | None = None, private: bool = False
) -> tuple[bytes, tuple[int, int]]:
    """Return the bytes of a member of a container as `read_place` does.

    Args:
        container: the container's place.
        inside: the path in there.
        max_bytes: what is refused as too large.
        url: its whole address on the web, with its query.
        private: whether it may lie at a private address.
    """
    try:
        with _told("Its container"):
            archive, mtime_ns, _ = open_archive(container, url=url, private=private)
            member = archive.find(inside)
        if member is None:
            raise DecodeError("vanished", "It is not in its container (any more).")
        return archive.read(member, max_bytes), (member.size, mtime_ns)
    except DecodeError as error:
        if error.code == "io" and is_remote(container):
            ensure_answered(container)
            forget_container(container)  # which may be another one now
        raise


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what goes wrong while a container or video is opened into its reason."""
    try:
        yield
    except FileNotFoundError as error:
        raise DecodeError("vanished", "The file is not there (any more).") from error
    except OSError as error:
        raise DecodeError("io", f"{what} cannot be read: {reason(error)}.") from error
    except InputError as error:
        raise DecodeError("corrupt", str(error)) from error


def is_there(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path leads to a file or a folder, or to what lies in a container; raises InputError where a
    bucket cannot be asked.
    """
    if is_remote(path):
        place = absolute(path)
        return split(place)[0] == WEB or kind_of(place) is not None or stat_place("", place).size >= 0
    return os.path.exists(path) or stat_place("", os.fspath(path)).size >= 0  # noqa: PTH110 - a name may be too long


def open_place(path: Path) -> tuple[BufferedReader, int]:
    """Return a file, or a member of a container as a temporary file without a name, and its mtime_ns.

    Raises:
        InputError: the container is none, or the member cannot be read.
        OSError: it is not there, or may not be read.
    """
    if archive_above(str(path)) is None:
        if is_remote(path):
            return open_remote(str(path))
        opened = open_regular(path, follow=True)
        return opened, stamp(os.fstat(opened.fileno()))[1]
    try:
        data, (_, mtime_ns) = read_file_at(str(path), sys.maxsize)
    except DecodeError as error:
        raise InputError(f"{shown(path)} cannot be read: {error}") from error
    with tempfile.TemporaryFile(prefix="fxengine-") as kept:
        kept.write(data)
        kept.seek(0)
        return open(os.dup(kept.fileno()), "rb"), mtime_ns  # noqa: PTH123 - of a handle; who asked closes it


def _box_in(path: str) -> tuple[str, str] | None:
    """Return the picture and the region of a place that is a box; a file or member that is called so is that."""
    found = _BOX.fullmatch(path) if XYWH in path else None
    return None if found is None or os.path.lexists(path) or _is_member(path) else (found[1], found[2])


def _is_member(path: str) -> bool:
    """Tell whether a path is that of a member of a container."""
    with suppress(InputError, OSError):
        if (found := archive_above(path)) is not None:
            return open_archive(found[0]).archive.find(found[1]) is not None
    return False


def _frame_in(path: str) -> tuple[str, int] | None:
    """Return the video and the milliseconds of a place that is a frame; a file that is called so is a file."""
    video, _, seconds = path.rpartition(TIME)
    time = time_in(seconds) if is_video(video) else None
    if time is None or os.path.lexists(path) or not os.path.isfile(video):  # noqa: PTH113 - a name may be too long
        return None
    return video, time


def hash_in(place: str | os.PathLike[str]) -> str | None:
    """Return the `content_hash` of a place that tells it without being decoded, which is a frame; None of others.

    Raises:
        DecodeError: its video cannot be read.
    """
    if (frame := _frame_in(os.fspath(place))) is None:
        return None
    with _told("Its video"):
        return frame_hash(open_video(frame[0])[0].digest(), fragment(frame[1]))


def hash_of(place: str | os.PathLike[str], payload: Payload) -> str:
    """Return the `content_hash` of a place that holds a payload; raises DecodeError as `hash_in` does."""
    return hash_in(place) or sha256_of(payload)


def read_stored(item: Item, max_bytes: int) -> tuple[Payload, Item]:
    """Return what the place of an item holds, and the item as it was when it was read; raises DecodeError as
    `read_place` does.
    """
    known = hash_in(item.source)
    data, (size, mtime_ns) = read_place(item.source, max_bytes)
    return data, item._replace(size=size, mtime_ns=mtime_ns, content_hash=known)


def bytes_held(item: Item, max_bytes: int) -> int:
    """Return about how many bytes an item's payload takes from when it is read: of a frame those of 4K."""
    is_frame = TIME in item.source and is_video(item.source.rpartition(TIME)[0])
    return _FRAME if is_frame else max(0, min(item.size, max_bytes))


def is_gone(path: str) -> bool:
    """Tell whether there is nothing at a path, not even a broken link; what a server does not tell is not gone."""
    if not is_remote(path):
        return not os.path.lexists(path)
    try:
        if (found := archive_above(path)) is not None:
            return open_archive(found[0], fresh=True).archive.find(found[1]) is None
        stat_remote(path)
    except (InputError, OSError) as error:
        return isinstance(error, FileNotFoundError)
    return False


def stat_place(key: str, place: str) -> Item:
    """Return the item of a place as it is now, with size -1 where it is gone, and neither label nor split."""
    if (box := _box_in(place)) is not None:
        return stat_place(key, box[0])._replace(source=place)
    if (frame := _frame_in(place)) is not None:
        with suppress(InputError, OSError):
            video, mtime_ns = open_video(frame[0])
            if video.has(frame[1]):
                return Item(key, place, video.size, mtime_ns)
        return Item(key, place, -1, 0)
    try:
        if (found := archive_above(place)) is not None:
            return _stat_member(key, place, *found)
        if is_remote(place):
            told = stat_remote(place)
            return Item(key, place, told.size, told.mtime_ns, etag=told.etag)
    except OSError:
        return Item(key, place, -1, 0)
    return stat_item(key, place)


def _stat_member(key: str, place: str, container: str, inside: str) -> Item:
    try:
        archive, mtime_ns, etag = open_archive(container, fresh=True)
        member = archive.find(inside)
    except InputError:
        return Item(key, place, -1, 0)
    return Item(key, place, -1, 0) if member is None else Item(key, place, member.size, mtime_ns, etag=etag)


def is_named(path: str) -> bool:
    """Tell whether a row's file lies in a folder that this user extracted from or named."""
    return within_named(Path(path).parent)


def ensure_named(root: str, keys: Iterable[str]) -> None:
    """Raise InputError where an input lies in a folder that this user neither extracted from nor named.

    Args:
        root: what a store says that its ids are relative to.
        keys: its ids.
    """
    folders = {os.path.dirname(stored_path(root, key)) for key in keys}  # noqa: PTH120
    for folder in sorted({root, *folders}):
        if not within_named(folder):
            raise InputError(
                f"The store says that its inputs lie in {folder[:_SHOWN]}, from which you did not extract: one from "
                "others may name any folder. Where it is right, name it, or one above it, as `pictures`."
            )
