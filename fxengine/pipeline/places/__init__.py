"""Where units of a run are computed."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from fxengine.pipeline.driver import Place, Wanted

__all__ = ["PLACES", "PlaceModule", "load_place"]

# To add a place: write pipeline/places/<file>.py with open_place(wanted) and name it here. (`--shard` is none: there
# every process walks the plan by itself, see `pipeline.shards`.)
PLACES = {"processes": "fxengine.pipeline.places.processes", "ray": "fxengine.pipeline.places.on_ray"}


class PlaceModule(Protocol):
    """A module of `PLACES`."""

    def ensure_there(self, address: str, /) -> None:
        """Raise InputError where there is no such place, before anything is planned for it."""

    def open_place(self, wanted: Wanted, /) -> tuple[Place, int]:
        """Return the place and how many workers it has room for; raises InputError where it is not to be had."""


def load_place(name: str) -> PlaceModule:
    """Return the place called `name`, one of `PLACES`."""
    module: PlaceModule = import_module(PLACES[name])
    return module
