"""Lists a folder of a bucket as `folder` does one of a disk: sorted, streamed, with labels from the keys' folders."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heappop, heappush
from itertools import islice, pairwise
from pathlib import Path

from fxengine.collect.folder import PICTURE_SUFFIXES, label_rule
from fxengine.collect.inside import items_in
from fxengine.collect.item import Filters, Item, Payload, Place, TextColumns, columns_refused, escape_path
from fxengine.collect.members import folders_in
from fxengine.collect.opened import is_archive
from fxengine.collect.remote import kind_of, read_remote, refused
from fxengine.collect.stored import container_above, read_stored
from fxengine.collect.text_files import SUFFIXES, TEXTS, utf8_of
from fxengine.errors import InputError
from fxengine.storage import BUCKETS, PAGE, Bucket, Found, is_remote, open_bucket, shown, split

_RANGES = 256  # that a listing is cut into at most
_AT_ONCE = 16  # of them are listed ahead of their use,
_AHEAD = 8  # each so many pages


@dataclass
class BucketListing:
    """The inputs below one folder of a bucket, or one key; iterating yields `Item`s sorted by id, bytewise.

    Every key that is not hidden is an input, as on a disk, or what is in it, where containers are opened. Memory is
    that of some 128 pages of 1000 keys, and of the names of the first two levels of folders.

    Attributes:
        root: the folder, or the one that the key is in.
        only: the one key below it, or "".
        place: what it was asked for.
        labelled: folders tell labels.
        unreadable: containers that are cut short, filled while iterating; what cannot be listed ends a listing.
    """

    root: Path
    only: str
    place: Place
    labelled: bool = True
    unreadable: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Item]:
        label_of = label_rule(folders_in(self._survey[1]))
        last = ""
        for path, found in self._inputs():
            if path <= last:
                raise InputError(f"{self._bucket.called} does not list in the order of the keys: copy it to a disk.")
            last = path
            if path.endswith("/"):
                yield from self._inside(path[:-1], found, *label_of(path))
            elif self.place.filters.admit(path):
                yield self._item(path, found, *label_of(path))

    def _item(self, path: str, found: Found, label: str | None, split_: str | None) -> Item:
        source = f"{self.root}/{path}"
        return Item(escape_path(path), source, found.size, found.mtime_ns, label, split_, etag=found.etag)

    def _inside(self, path: str, found: Found, label: str | None, split_: str | None) -> Iterator[Item]:
        """Yield what is in a container; one that is none, or holds no pictures, is a key as others."""
        inside = items_in(self.place, path, f"{self.root}/{path}", self._tell, label, split_, found=found)
        try:
            first = next(inside, None)
            if first is not None:
                yield first
                yield from inside
        except InputError:
            if self.place.filters.admit(path) and self.place.modality == "picture":
                yield self._item(path, found, label, split_)
        except OSError as error:
            raise refused(Path(f"{self.root}/{path}"), error) from error

    def _tell(self, sentence: str) -> None:
        if sentence and sentence not in self.unreadable:
            self.unreadable.append(sentence)

    def count(self) -> int:
        """Return how many inputs there are."""
        return sum(1 for _ in self) if self.place.containers else self._survey[0]

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return what a key, or a member of a container, holds; raises DecodeError as `read_remote`, `read_stored` and,
        of texts, `utf8_of` do.
        """
        if self.place.containers and container_above(item.source) is not None:
            payload, read = read_stored(item, max_bytes)
            assert isinstance(payload, bytes), "no key here is a box or a frame"
            data = payload
        else:
            data, found = read_remote(item.source, max_bytes)
            read = item._replace(size=found.size, mtime_ns=found.mtime_ns, etag=found.etag)
        return (utf8_of(data) if self.place.modality == "text" else data), read

    @cached_property
    def _survey(self) -> tuple[int, list[str]]:
        """How many inputs there are, and one path of each folder of the first two levels that may be a class."""
        count, folders = 0, dict[str, None]()
        suffixes = SUFFIXES if self.place.modality == "text" else PICTURE_SUFFIXES
        for path, _ in self._inputs():
            count += self.place.filters.admit(path)
            suffix = os.path.splitext(path)[1].lower()
            # Without the filters: which folders are classes must not depend on what is extracted this time.
            if suffix in suffixes or not suffix:
                folders["/".join([*path.rstrip("/").split("/", 2)[:-1][:2], ""])] = None
        return count, [*folders]

    @cached_property
    def _bucket(self) -> Bucket:
        return open_bucket(*split(str(self.root))[:2])

    def _inputs(self) -> Iterator[tuple[str, Found]]:
        """Yield the path below the root of every key that is no hidden one, nor stands for a folder.

        One that is to be opened has a "/" behind it, and comes where its members are sorted: behind "a.tar-2".
        """
        opened = list[tuple[str, Found]]()
        for path, found in self._keys():
            while opened and opened[0][0] < path:
                container = heappop(opened)
                if path.startswith(container[0]):
                    raise InputError(
                        f"{shown(self.root / container[0][:-1])} is both a container and a folder: rename one of them."
                    )
                yield container
            if self.place.containers and is_archive(path):
                heappush(opened, (f"{path}/", found))
            else:
                yield path, found
        while opened:
            yield heappop(opened)

    def _keys(self) -> Iterator[tuple[str, Found]]:
        prefix = split(str(self.root))[2]
        try:
            if self.only:
                yield self.only, self._bucket.stat(f"{prefix}/{self.only}".lstrip("/"))
                return
            start = len(prefix) + 1 if prefix else 0
            for found in _without_folders(self._bucket, listed(self._bucket, prefix)):
                path = found.key[start:]
                if path and not path.startswith(".") and "/." not in path:
                    yield path, found
        except OSError as error:
            raise refused(self.root, error) from error


def listed(bucket: Bucket, prefix: str) -> Iterator[Found]:
    """Yield what lies below a folder, in order, from many requests at once; raises as `Bucket.pages` does."""
    edges = [None, *_edges(bucket, prefix), None]
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        waiting = deque[Future[tuple[list[list[Found]], Iterator[list[Found]]]]]()
        ranges = pairwise(edges)
        for begin, end in islice(ranges, _AT_ONCE):
            waiting.append(pool.submit(_begin, bucket, prefix, begin, end))
        while waiting:
            pages, further = waiting.popleft().result()
            for begin, end in islice(ranges, 1):
                waiting.append(pool.submit(_begin, bucket, prefix, begin, end))
            following = pool.submit(next, further, None)
            for page in pages:
                yield from page
            while more := following.result():
                following = pool.submit(next, further, None)
                yield from more
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(
    bucket: Bucket, prefix: str, begin: str | None, end: str | None
) -> tuple[list[list[Found]], Iterator[list[Found]]]:
    """Return the first pages of a range of keys, and what gives those that follow."""
    pages = _pages(bucket, prefix, begin, end)
    return [*islice(pages, _AHEAD)], pages


def _pages(bucket: Bucket, prefix: str, begin: str | None, end: str | None) -> Iterator[list[Found]]:
    """Yield the keys behind `begin` up to `end`."""
    for page in bucket.pages(prefix, begin):
        if end is not None and page[-1].key > end:
            yield [found for found in page if found.key <= end]
            return
        yield page


def _edges(bucket: Bucket, prefix: str) -> list[str]:
    """Return keys that cut a listing into ranges: folders of the first two levels, as many as are useful."""
    if not (bucket.sorted and _is_large(bucket, prefix)):
        return []
    folders = bucket.folders(prefix)
    if len(folders) < _AT_ONCE:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            deeper = pool.map(lambda folder: [folder, *_folders_below(bucket, folder)], folders)
            folders = [each for some in deeper for each in some]
    step = max(1, len(folders) / _RANGES)
    return [folders[int(i * step)] for i in range(int(len(folders) / step))]


def _folders_below(bucket: Bucket, folder: str) -> list[str]:
    return bucket.folders(folder) if _is_large(bucket, folder) else []


def _is_large(bucket: Bucket, prefix: str) -> bool:
    """Tell whether a folder is worth to be cut: it has more than a page of keys, and the first are in folders of it."""
    page = next(bucket.pages(prefix), [])
    start = len(prefix) + 1 if prefix else 0
    return len(page) >= PAGE and any("/" in found.key[start:] for found in page)


def _without_folders(bucket: Bucket, objects: Iterator[Found]) -> Iterator[Found]:
    """Leave out empty objects that only stand for a folder, whose keys end in a "/" that a listing does not show."""
    objects = iter(objects)
    found = next(objects, None)
    while found is not None:
        after = next(objects, None)
        if found.size or not (_is_above(found, after) or not _is_there(bucket, found)):
            yield found
        found = after


def _is_above(found: Found, after: Found | None) -> bool:
    return after is not None and after.key.startswith(f"{found.key}/")


def _is_there(bucket: Bucket, found: Found) -> bool:
    try:
        bucket.stat(found.key)
    except FileNotFoundError:
        return False
    return True


def names_in(place: str) -> list[str]:
    """Return the names of the first files below a folder, as many as a request tells; raises as `kind_of` does."""
    scheme, name, prefix = split(place)
    try:
        found = next(open_bucket(scheme, name).pages(prefix), [])
    except OSError as error:
        raise refused(Path(place), error) from error
    names = (each.key.rpartition("/")[2] for each in found if each.size)
    return [name for name in names if not name.startswith(".")]


def takes(place: Place) -> bool:
    """Tell whether it lists such a place: all that lies in a bucket, and that no list names."""
    return place.listing is None and is_remote(place.root) and split(str(place.root))[0] in BUCKETS


def open_listing(place: Place) -> BucketListing:
    """Return the inputs in a folder of a bucket, or the one that a key is.

    Raises:
        InputError: there is nothing, the bucket refuses or does not answer, or what is asked for is only had of disks.
    """
    called = shown(place.root)
    if place.columns != TextColumns():
        raise columns_refused(f"{called} is no table.")
    kind = kind_of(str(place.root))
    if kind is None:
        raise InputError(f"There is nothing in {called}.")
    if kind == "file":
        single = replace(place, containers=False, filters=Filters())
        return BucketListing(place.root.parent, place.root.name, single)
    filters = place.filters
    if place.modality == "text" and not filters.include:
        filters = replace(filters, include=TEXTS)
    return BucketListing(place.root, "", replace(place, filters=filters))
