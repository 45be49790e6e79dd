from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest

from fxengine.collect.item import Item
from fxengine.errors import DecodeError
from fxengine.pipeline.lookahead import ahead, hash_each
from tests.conftest import wait_until


def test_things_are_made_ahead_and_in_order() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    seen = []
    for number in ahead(numbers()):
        wait_until(lambda: len(made) >= min(number + 2, 5))  # noqa: B023  at once
        time.sleep(0.05)
        seen.append((number, len(made)))
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5)]


def test_what_fails_ahead_is_raised_in_its_turn() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the share is gone")

    things = ahead(broken())
    assert next(things) == 1
    with pytest.raises(OSError, match="the share is gone"):
        next(things)


def test_items_are_hashed_in_order_and_unreadable_ones_left_out() -> None:
    def read(item: Item, max_bytes: int) -> tuple[bytes, Item]:
        if item.size > max_bytes:
            raise DecodeError("too_large", "It is too large.")
        time.sleep(0.01 * (item.size % 3))
        return item.key.encode(), item._replace(mtime_ns=7)

    items = [Item(f"{i:02d}", "", i, 0) for i in range(30)]
    expected = [(item._replace(mtime_ns=7), hashlib.sha256(item.key.encode()).hexdigest()) for item in items[:26]]
    assert [*hash_each(read, 25, items)] == expected
