"""Where units of a run are computed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fxengine.pipeline.driver import Place

__all__ = ["PLACES", "PlaceModule", "Wanted", "load_place"]

# To add a place: write pipeline/places/<file>.py with open_place(wanted) and name it here. (`--shard` is none: there
# every process walks the plan by itself, see `pipeline.shards`.)
PLACES = {"processes": "fxengine.pipeline.places.processes", "ray": "fxengine.pipeline.places.on_ray"}


@dataclass(frozen=True)
class Wanted:
    """What a place is asked for.

    Attributes:
        folder: the store, absolute.
        run: the run.
        workers: how many, 0 for as many as there is room for.
        address: of a cluster, "" for the one that is there.
        on_gpu: whether the run computes on GPUs.
        decoders: decoding threads of a worker; one for each of its cores where it is 0.
    """

    folder: Path
    run: str
    workers: int
    address: str
    on_gpu: bool
    decoders: int


class PlaceModule(Protocol):
    """A module of `PLACES`."""

    def open_place(self, wanted: Wanted, /) -> tuple[Place, int]:
        """Return the place and how many workers it has room for; raises InputError where it is not to be had."""


def load_place(name: str) -> PlaceModule:
    """Return the place called `name`, one of `PLACES`."""
    module: PlaceModule = import_module(PLACES[name])
    return module
