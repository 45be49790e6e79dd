"""What passes through decoding: payloads that were looked at, and rows of a graph's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from fxengine.collect.item import Payload
from fxengine.errors import DecodeError

# Name of a graph's input -> array [rows, ...].
Inputs = dict[str, np.ndarray]

_NONE: Mapping[str, object] = MappingProxyType({})


class Filled(NamedTuple):
    """What a row of the store says of an input that was decoded; a named tuple, since a run makes one for every input.

    Attributes:
        width: upright width in pixels, or None.
        height: upright height in pixels, or None.
        further: values of the columns of further column groups.
    """

    width: int | None = None
    height: int | None = None
    further: Mapping[str, object] = _NONE


class Opened(NamedTuple):
    """An input that was looked at, but not yet decoded; a named tuple for the same reason.

    Attributes:
        cost: bytes of memory that decoding it takes, estimated from above.
        fill: decodes it into a row of the inputs; raises DecodeError where it is damaged, the row is then undefined.
    """

    cost: int
    fill: Callable[[Inputs, int], Filled]


@dataclass(frozen=True)
class Window:
    """How much is prepared before the net takes it.

    Attributes:
        rows: inputs at most.
        size: bytes of them, or None where that says nothing; one more is taken beyond it.
        together: inputs that are handed on at once, and prepared by `fill_together`: many where each takes little time.
        cost: bytes of memory that a byte of these takes while it is prepared, estimated from above.
    """

    rows: int
    size: int | None = None
    together: int = 1
    cost: int = 0


class Preparer(Protocol):
    """Turns what inputs hold into rows of a graph's inputs; any thread may use it."""

    @property
    def decoder(self) -> str:
        """What decodes, with its version, for a store's metadata."""

    def room(self, rows: int) -> Inputs:
        """Return inputs for so many rows."""

    def example(self, batch_size: int) -> Inputs:
        """Return inputs of usual size, to time a net on, as many as a session of this `batch_size` takes at once."""

    def window(self, batch_size: int) -> Window:
        """Return how much is made ready at once for a session of this `batch_size`."""

    def open(self, payload: Payload, /) -> Opened:
        """Look at what an input holds; raises DecodeError where it is refused."""

    def open_apart(self, payload: Payload, /) -> Opened:
        """Do so for an input that is suspected to crash the decoder: it is decoded in a process of its own."""

    def fill_together(
        self, payloads: Sequence[Payload], inputs: Inputs, rows: Sequence[int], /
    ) -> list[Filled | DecodeError]:
        """Look at several and decode them into these rows of the inputs; an error stands for what is refused."""

    def payload_of(self, given: object, /) -> Any:
        """Return what `open` and `fill_together` take, of what a program gives by itself; raises InputError where it is
        nothing that is taken.
        """
