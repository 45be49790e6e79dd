"""Decoding: what an input holds becomes a row of the graph's inputs, as the backbone's recipe says. Passive.

open (what is it, what will it take? refuse) -> fill (into its row of the batch)
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode.limits import Limits
from fxengine.decode.rows import Filled, Inputs, Opened, Preparer

__all__ = ["MODALITIES", "Filled", "Inputs", "Modality", "Opened", "Preparer", "load_modality", "preparer_for"]

# To add a modality: write decode/<name>/preparer.py with make(recipe, limits, on_gpu) -> Preparer, and name it here
# by what the recipe's `modality` says.
MODALITIES = {"picture": "fxengine.decode.picture.preparer"}


class Modality(Protocol):
    """A module of `MODALITIES`."""

    def make(self, recipe: PictureRecipe, limits: Limits, on_gpu: bool, /) -> Preparer:
        """Return the preparer of a recipe."""


def load_modality(name: str) -> Modality:
    """Return the modality called `name`, one of `MODALITIES`."""
    module: Modality = import_module(MODALITIES[name])
    return module


def preparer_for(recipe: PictureRecipe, limits: Limits | None = None, *, on_gpu: bool = False) -> Preparer:
    """Return what prepares inputs for a backbone.

    Args:
        recipe: the backbone's.
        limits: what is refused as too large.
        on_gpu: whether a GPU decodes what it can.
    """
    return load_modality(recipe.modality).make(recipe, limits or Limits(), on_gpu)
