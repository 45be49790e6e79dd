"""Fuzzing: a target a file, each a strategy of inputs and what reads them.

A module of `TARGETS` has `inputs`, a strategy, and `read`, which may return anything or raise FxError; whatever else
comes through, a crash, a hang, and more memory than `MEGABYTES` is a fault of the target's reader.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from hypothesis.strategies import SearchStrategy

TARGETS = ("head", "index", "jpeg", "labels", "metadata", "part", "png", "tiff", "where")


class Target(Protocol):
    """A module of `TARGETS`."""

    MEGABYTES: int
    inputs: SearchStrategy[Any]

    def prepare(self, folder: Path) -> Any:
        """Return what `read` needs, made once in an empty folder."""

    def read(self, data: Any, made: Any) -> object:
        """Read an input; raises FxError where it is refused."""


def load_target(name: str) -> Target:
    """Return a target's module."""
    target: Target = import_module(f"tests.hostile.fuzz.{name}")
    return target
