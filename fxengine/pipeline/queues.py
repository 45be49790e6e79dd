"""What passes work between the threads of an extraction, in bounded memory, and stops with it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_TICK = 0.2  # seconds between two looks at whether the run was stopped


class Stopped(Exception):
    """Raised in a stage's thread when the run is being stopped."""


class Channel(Generic[T]):
    """A bounded queue between two stages that can be closed at its end or stopped at any moment."""

    def __init__(self, capacity: int, stop: threading.Event) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = False
        self._stop = stop

    def put(self, item: T) -> None:
        """Add an item, waiting while the queue is full; raises Stopped."""
        with self._changed:
            self._wait(lambda: len(self._items) < self._capacity)
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T | None:
        """Return the oldest item, waiting for one; None once the queue is closed and empty; raises Stopped."""
        with self._changed:
            self._wait(lambda: bool(self._items) or self._closed)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        while not ready():
            if self._stop.is_set():
                raise Stopped
            self._changed.wait(_TICK)


class Budget:
    """Lets bytes (or batches) in up to a limit; something larger than the limit waits until it is alone."""

    def __init__(self, limit: int, stop: threading.Event) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()
        self._stop = stop

    def take(self, count: int) -> None:
        """Wait until `count` more fit; raises Stopped."""
        with self._changed:
            while self._used and self._used + count > self._limit:
                if self._stop.is_set():
                    raise Stopped
                self._changed.wait(_TICK)
            self._used += count

    def give(self, count: int) -> None:
        """Give `count` back."""
        with self._changed:
            self._used -= count
            self._changed.notify_all()
