"""What is made or read ahead of its use, in order: the next unit of a run, and the contents of renamed files."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fxengine.collect.item import Item, Payload, sha256_of
from fxengine.collect.stored import hash_in
from fxengine.errors import DecodeError
from fxengine.storage import is_remote

T = TypeVar("T")

READERS = 2  # of a disk or a share at once
REMOTE_READERS = 32  # of a server at once: each waits for the network most of the time


def readers_of(place: str | os.PathLike[str]) -> int:
    """Return how many threads read what lies at a place, or below it."""
    return REMOTE_READERS if is_remote(place) else READERS


def ahead(things: Iterable[T]) -> Iterator[T]:
    """Yield things, each of which is made while the one before it is in use."""
    following = iter(things)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(lambda: [*itertools.islice(following, 1)])
        while found := made.result():
            made = pool.submit(lambda: [*itertools.islice(following, 1)])
            yield found[0]


def hash_each(
    read: Callable[[Item, int], tuple[Payload, Item]], max_bytes: int, items: Iterable[Item], readers: int = READERS
) -> Generator[tuple[Item, str], None, None]:
    """Yield items as they were when they were read, with the SHA-256 of what they hold, in order.

    Args:
        read: returns what an item holds; a listing's own.
        max_bytes: what is too large to read.
        items: the items; those that cannot be read are left out.
        readers: how many are read at once.
    """

    def hash_one(item: Item) -> list[tuple[Item, str]]:
        if item.content_hash is not None:
            return [(item, item.content_hash)]
        try:
            if (known := hash_in(item.source)) is not None:  # of a frame, which is not decoded for it
                return [(item, known)]
            payload, item = read(item, max_bytes)
        except DecodeError:
            return []
        return [(item, item.content_hash or sha256_of(payload))]

    with ThreadPoolExecutor(readers) as pool:
        waiting = deque[Future[list[tuple[Item, str]]]]()
        for item in items:
            waiting.append(pool.submit(hash_one, item))
            if len(waiting) > 4 * readers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
