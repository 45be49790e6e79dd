"""Takes the inputs from a list of keys of a bucket, or of addresses of the web; or one address by itself."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fxengine.collect.item import Item, Payload, Place, TextColumns, columns_refused, escape_path
from fxengine.collect.paths import list_paths
from fxengine.collect.remote import read_remote, stat_remote
from fxengine.collect.text_files import utf8_of
from fxengine.collect.web import SLASH
from fxengine.errors import InputError
from fxengine.storage import BUCKETS, WEB, Found, is_remote, shown, split

_AT_ONCE = 32  # of the inputs are asked for ahead
_NOTHING = Found("", -1, 0, "")


@dataclass
class RemoteList:
    """The inputs that a list names; iterating yields `Item`s sorted by id, each once, and asks the server for each.

    What it answered is kept: a list is gone through more than once.

    Attributes:
        root: what ids are relative to: a folder of a bucket, or of a host, or "https:".
        addresses: id -> the whole address, of the web with its query, which nothing else knows.
        modality: what the inputs are.
        private: whether they may lie at private addresses.
        unreadable: always empty; what is not there becomes an error row.
        labelled: a list tells no labels.
    """

    root: Path
    addresses: dict[str, str]
    modality: str = "picture"
    private: bool = False
    unreadable: list[str] = field(default_factory=list)
    labelled: bool = False
    _told: dict[str, Found] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Item]:
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            waiting = deque[tuple[str, Future[Found]]]()
            for path in self.addresses:
                waiting.append((path, pool.submit(self._stat, path)))
                if len(waiting) > 2 * _AT_ONCE:
                    yield self._item(*waiting.popleft())
            while waiting:
                yield self._item(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def count(self) -> int:
        """Return how many inputs the list names."""
        return len(self.addresses)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return what an input holds; raises DecodeError as `read_remote` and, of texts, `utf8_of` do."""
        path = item.source[len(str(self.root)) + 1 :]
        data, found = read_remote(item.source, max_bytes, url=self.addresses.get(path), private=self.private)
        read = item._replace(size=found.size, mtime_ns=found.mtime_ns, etag=found.etag)
        return (utf8_of(data) if self.modality == "text" else data), read

    def _stat(self, path: str) -> Found:
        if path not in self._told:
            try:
                found = stat_remote(f"{self.root}/{path}", url=self.addresses[path], private=self.private)
            except OSError:
                found = _NOTHING
            self._told[path] = found
        return self._told[path]

    def _item(self, path: str, found: Future[Found]) -> Item:
        told = found.result()
        return Item(escape_path(path), f"{self.root}/{path}", told.size, told.mtime_ns, etag=told.etag)


def takes(place: Place) -> bool:
    """Tell whether it lists such a place: what a list names in a bucket or on the web, or one address."""
    return is_remote(place.root) and (place.listing is not None or split(str(place.root))[0] == WEB)


def open_listing(place: Place) -> RemoteList:
    """Return the inputs that a list names, or the one address.

    Raises:
        InputError: the list cannot be read or is empty, names what does not lie below `root`, holds names and
            passwords, or two addresses that differ in the query alone; or the web is asked for without a list.
    """
    root, listing = place.root, place.listing
    if place.columns != TextColumns():
        raise columns_refused(f"{shown(root)} is no table.")
    if listing is None:
        if "/" not in str(root).partition(":/")[2]:
            raise InputError(f"{shown(root)} cannot be listed: name the addresses in a file, as `listing`.")
        return RemoteList(root.parent, {root.name: str(root)}, place.modality, place.allow_private)
    given = list_paths(listing, root).paths
    on_web = split(str(root))[0] == WEB
    found = _of_web(given, str(root), str(listing)) if on_web else _of_bucket(given, str(root), str(listing))
    kept = sorted(filter(place.filters.admit, found), key=lambda path: escape_path(path).encode())
    return RemoteList(root, {path: found[path] for path in kept}, place.modality, place.allow_private)


def _of_bucket(given: Iterable[str], root: str, called: str) -> dict[str, str]:
    """Return path -> place of keys that are given relative to the root, or whole."""
    found = dict[str, str]()
    for path in given:
        whole = posixpath.normpath(path if path.partition("://")[0] in BUCKETS else f"{root}/{path}")
        whole = whole.replace("://", ":/", 1)
        found[_below(root, whole, called)] = whole
    return found


def _of_web(given: Iterable[str], root: str, called: str) -> dict[str, str]:
    """Return path -> whole address of those that are given relative to the root, or whole."""
    found = dict[str, str]()
    for number, text in enumerate(given, 1):
        address = text.strip() if "://" in text else f"{shown(root)}/{text.strip()}".replace(":///", "://")
        address = address.partition("#")[0]
        try:
            parts = urlsplit(address)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise InputError(f"Address {number} of the list {called} is none: mend it.") from None
        if parts.scheme != WEB or not host:
            raise InputError(
                f"Address {number} of the list {called} does not begin with https://, which alone is read."
            )
        if parts.username is not None or parts.password is not None:
            raise InputError(f"Address {number} of the list {called} holds a name or a password: leave them away.")
        host = f"[{host}]" if ":" in host else host
        place = f"{WEB}:/{host}{'' if port in (None, 443) else f':{port}'}{_plain(parts.path)}"
        path = _below(root, place, called)
        if found.setdefault(path, address) != address:
            raise InputError(
                f"The list {called} has addresses that differ only in what stands behind the '?' (number {number} is "
                "one), which is never kept, so that their rows would be one: give each an address of its own."
            )
    return found


def _plain(path: str) -> str:
    """Return the path of an address without "." and "..", and each "/" that a path would lose as `SLASH`."""
    kept = list[str]()
    for part in path.split("/")[1:]:
        if part == "..":
            kept = kept[:-1]
        elif part != ".":
            kept.append(part)
    if path.endswith(("/.", "/..")) or not path:
        kept.append("")
    return "".join(f"/{part}" if part else SLASH for part in kept)


def _below(root: str, place: str, called: str) -> str:
    if not place.startswith(f"{root}/") or place == f"{root}/":
        raise InputError(f"The list {called} names what does not lie in {shown(root)}: give what all of it lies in.")
    return place[len(root) + 1 :]
