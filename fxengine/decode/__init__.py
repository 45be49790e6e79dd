"""Decoding: what an input holds becomes a row of the graph's inputs, as the backbone's recipe says. Passive.

open (what is it, what will it take? refuse) -> fill (into its row of the batch)
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from fxengine.backbones.spec import BackboneFile, Recipe
from fxengine.backbones.tokenizer import tokenizer_in
from fxengine.decode.limits import Limits, usual_limits
from fxengine.decode.rows import Filled, Inputs, Opened, Preparer, Window

__all__ = [
    "MODALITIES",
    "Filled",
    "Inputs",
    "Modality",
    "Opened",
    "Preparer",
    "Window",
    "load_modality",
    "preparer_for",
    "preparer_of",
]

# To add a modality: write decode/<name>/preparer.py with make(recipe, limits, on_gpu, tokenizer) -> Preparer, and name
# it here by what the recipe's `modality` says.
MODALITIES = {"picture": "fxengine.decode.picture.preparer", "text": "fxengine.decode.text.preparer"}


class Modality(Protocol):
    """A module of `MODALITIES`."""

    def make(self, recipe: Recipe, limits: Limits, on_gpu: bool, tokenizer: bytes, /) -> Preparer:
        """Return the preparer of a recipe; raises InputError where a library that it needs is not installed."""


def load_modality(name: str) -> Modality:
    """Return the modality called `name`, one of `MODALITIES`."""
    module: Modality = import_module(MODALITIES[name])
    return module


def preparer_of(found: BackboneFile, limits: Limits | None = None, *, on_gpu: bool = False) -> Preparer:
    """Return what prepares inputs for a backbone.

    Args:
        found: the backbone.
        limits: what is refused as too large.
        on_gpu: whether a GPU decodes what it can.

    Raises:
        InputError: a library that it needs is not installed, or its file is damaged.
    """
    return preparer_for(found.recipe, limits, on_gpu=on_gpu, tokenizer=tokenizer_in(found))


def preparer_for(
    recipe: Recipe, limits: Limits | None = None, *, on_gpu: bool = False, tokenizer: bytes = b""
) -> Preparer:
    """Do so for a recipe alone; a text's needs the JSON of its tokenizer."""
    return load_modality(recipe.modality).make(recipe, limits or usual_limits(recipe.modality), on_gpu, tokenizer)
