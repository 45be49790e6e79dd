"""Pictures of rows, by the row's number alone: decoded here and encoded anew, never sent as they are."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path

from fxengine.cache import working_folder
from fxengine.collect.item import unescape_path
from fxengine.collect.stored import stored_path
from fxengine.decode.picture.thumbnail import thumbnail
from fxengine.errors import DecodeError
from fxengine.serving.opened import Opened, Refused
from fxengine.serving.route import Asked, Content, Route

_EDGE, _LARGE = 240, 1400  # pixels on the longer edge
_KEPT = 500_000_000  # bytes of thumbnails on disk, of all stores together
_JPEG_END = b"\xff\xd9"
_SECONDS = 600  # that a browser keeps a picture
HIDDEN = (
    "It lies in a folder that you neither extracted from nor named, and is not shown. Where the store is right, name "
    "the folder: `fxengine serve STORE --pictures FOLDER`."
)


class Thumbnails:
    """Thumbnails on disk, of at most so many bytes: where they are more, the older half goes.

    They are not flushed to the disk, as nothing is lost with them; one that is not whole is made again.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most, self._lock = folder, most, threading.Lock()
        self._size = sum(entry.stat().st_size for entry in os.scandir(folder))

    def find(self, name: str) -> bytes | None:
        """Return what is kept by that name, None where nothing is."""
        try:
            found = (self._folder / name).read_bytes()
        except OSError:
            return None
        return found if found.endswith(_JPEG_END) else None

    def keep(self, name: str, content: bytes) -> None:
        """Keep it, if the disk has room."""
        with suppress(OSError):
            (self._folder / name).write_bytes(content)
        with self._lock:
            self._size += len(content)
            if self._size > self._most:
                self._drop_older_half()

    def _drop_older_half(self) -> None:
        files = sorted(
            (entry.stat().st_mtime_ns, entry.stat().st_size, entry.path) for entry in os.scandir(self._folder)
        )
        self._size = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._size <= self._most // 2:
                break
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108
                self._size -= size


def thumb(opened: Opened, asked: Asked) -> Content:
    """Return the thumbnail of a row's picture."""
    path, stamp = _source(opened, asked)
    kept = opened.once("thumbnails", lambda: Thumbnails(working_folder("thumbnails"), _KEPT))
    # By what the file was when it was extracted: that is what the row is about.
    name = hashlib.sha256(f"{path}\0{stamp}\0{_EDGE}".encode(errors="surrogatepass")).hexdigest() + ".jpg"
    content = kept.find(name)
    if content is None:
        content = _drawn(opened, path, _EDGE)
        kept.keep(name, content)
    return Content(content, "image/jpeg", _SECONDS)


def picture(opened: Opened, asked: Asked) -> Content:
    """Return a row's picture large."""
    return Content(_drawn(opened, _source(opened, asked)[0], _LARGE), "image/jpeg", _SECONDS)


def _source(opened: Opened, asked: Asked) -> tuple[str, str]:
    """Return the file of a row, and what it was when it was extracted; raises Refused where it may not be shown."""
    if opened.store.provenance.modality != "picture":
        raise Refused(404, "This is a store of texts.")
    place = opened.place_of(asked.whole("row", 0, 1 << 62))
    key, size, time = (opened.table[name][place].as_py() for name in ("id", "size", "mtime_ns"))
    path = stored_path(unescape_path(opened.store.provenance.root), key)
    if not opened.is_shown(os.path.dirname(path)):  # noqa: PTH120
        raise Refused(403, HIDDEN)
    return path, f"{size} {time}"


def _drawn(opened: Opened, path: str, edge: int) -> bytes:
    with opened.decoding:
        try:
            return thumbnail(path, edge)
        except DecodeError as error:
            raise Refused(404, str(error)) from error


ROUTES = (Route("GET", "/thumb/{row}", thumb), Route("GET", "/picture/{row}", picture))
