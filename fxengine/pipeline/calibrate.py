"""Compares the ways of computing a backbone on this machine, on the user's own inputs."""

from __future__ import annotations

from pathlib import Path

from fxengine.backbones import load_backbone
from fxengine.collect import TextColumns
from fxengine.decode import preparer_of
from fxengine.errors import path_of
from fxengine.pipeline.precision import Choice
from fxengine.pipeline.precision import calibrate as compare_ways
from fxengine.pipeline.suited import collect_for


def calibrate(backbone: str | Path, inputs: str | Path, *, column: str | None = None, device: str = "auto") -> Choice:
    """Compare every way of computing on inputs spread evenly over a folder or table; remember the best for later runs.

    Args:
        backbone: a name, KIND:WHAT (see docs/backbones.md), or a file that fxengine exported.
        inputs: a folder of pictures, 64 or more; for a backbone of texts as many, as `extract` takes them.
        column: of a table of texts, the column of the texts; the only one, or the one called "text", unless given.
        device: "auto", "cpu", "cuda" or "tensorrt".

    Raises:
        InputError: the inputs or the backbone cannot be used, or too few inputs can be decoded.
        DeviceError: the device was asked for by name and does not start.
    """
    found = load_backbone(backbone)
    preparer_of(found)  # before a long table is read: what it needs may not be installed
    listing = collect_for(found, path_of("inputs", inputs), TextColumns(text=column))
    return compare_ways(found, listing, listing.count(), device=device)
