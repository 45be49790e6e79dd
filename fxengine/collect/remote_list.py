"""Takes the inputs from a list of keys of a bucket, or of addresses of the web; or one address by itself."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from fxengine.collect.inside import items_in
from fxengine.collect.item import Item, Payload, Place, TextColumns, columns_refused, escape_path
from fxengine.collect.opened import is_archive
from fxengine.collect.paths import list_paths
from fxengine.collect.remote import read_remote, stat_remote
from fxengine.collect.stored import read_member
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
        place: what it was asked for.
        unreadable: containers that are cut short, filled while iterating; what is not there becomes an error row.
        labelled: a list tells no labels.
    """

    root: Path
    addresses: dict[str, str]
    place: Place
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
                    yield from self._items(*waiting.popleft())
            while waiting:
                yield from self._items(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def count(self) -> int:
        """Return how many inputs the list names."""
        return sum(1 for _ in self) if self._opens_any else len(self.addresses)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return what an input holds; raises DecodeError as `read_remote` and, of texts, `utf8_of` do."""
        path, private = item.source[len(str(self.root)) + 1 :], self.place.allow_private
        if path in self.addresses:
            data, found = read_remote(item.source, max_bytes, url=self.addresses[path], private=private)
            read = item._replace(size=found.size, mtime_ns=found.mtime_ns, etag=found.etag)
        else:
            container = self._container_above(path)
            source, url = f"{self.root}/{container}", self.addresses[container]
            data, (size, mtime_ns) = read_member(
                source, path[len(container) + 1 :], max_bytes, url=url, private=private
            )
            read = item._replace(size=size, mtime_ns=mtime_ns)
        return (utf8_of(data) if self.place.modality == "text" else data), read

    def _opens(self, path: str) -> bool:
        return self.place.containers and is_archive(path)

    @property
    def _opens_any(self) -> bool:
        return any(map(self._opens, self.addresses))

    def _container_above(self, path: str) -> str:
        """Return the container of the list that a path leads into."""
        while path not in self.addresses:
            path = path.rpartition("/")[0]
        return path

    def _items(self, path: str, found: Future[Found]) -> Iterator[Item]:
        told = found.result()
        if not self._opens(path) or told.size < 0:
            yield self._item(path, told)
            return
        source, url = f"{self.root}/{path}", self.addresses[path]
        inside = items_in(self.place, path, source, self._tell, found=told, url=url)
        try:
            first = next(inside, None)
            if first is not None:
                yield first
                yield from inside
        except OSError as error:
            raise InputError(
                f"{shown(source)} cannot be read: {error.strerror}. Run the same command again, or leave it away."
            ) from error
        except InputError:  # it is none
            if self.place.modality == "picture":
                yield self._item(path, told)

    def _tell(self, sentence: str) -> None:
        if sentence and sentence not in self.unreadable:
            self.unreadable.append(sentence)

    def _stat(self, path: str) -> Found:
        if path not in self._told:
            try:
                found = stat_remote(f"{self.root}/{path}", url=self.addresses[path], private=self.place.allow_private)
            except OSError:
                found = _NOTHING
            self._told[path] = found
        return self._told[path]

    def _item(self, path: str, told: Found) -> Item:
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
        return RemoteList(root.parent, {root.name: str(root)}, replace(place, containers=is_archive(root.name)))
    given = list_paths(listing, root).paths
    on_web = split(str(root))[0] == WEB
    found = _of_web(given, str(root), str(listing)) if on_web else _of_bucket(given, str(root), str(listing))
    opened = {path for path in found if place.containers and is_archive(path)}
    kept = [path for path in found if path in opened or place.filters.admit(path)]
    if both := next((path for path in kept if not opened.isdisjoint(_above(path))), None):
        raise InputError(f"The list {listing} names a container and {both} in it: leave one of them away.")
    # A container lies where its members do.
    kept.sort(key=lambda path: escape_path(f"{path}/" if path in opened else path).encode())
    return RemoteList(root, {path: found[path] for path in kept}, place)


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


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
