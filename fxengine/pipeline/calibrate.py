"""Compares the ways of computing a backbone on this machine, on the user's own pictures."""

from __future__ import annotations

from pathlib import Path

from fxengine.backbones import load_backbone
from fxengine.collect import collect
from fxengine.pipeline.precision import Choice
from fxengine.pipeline.precision import calibrate as compare_ways


def calibrate(backbone: str | Path, inputs: str | Path, *, device: str = "auto") -> Choice:
    """Compare every way of computing on pictures spread evenly over a folder; remember the best for later runs.

    Args:
        backbone: a name, KIND:WHAT (see docs/backbones.md), or a file that fxengine exported.
        inputs: a folder of pictures, 64 or more.
        device: "auto", "cpu", "cuda" or "tensorrt".

    Raises:
        InputError: the folder or the backbone cannot be used, or too few pictures can be decoded.
        DeviceError: the device was asked for by name and does not start.
    """
    listing = collect(inputs)
    return compare_ways(load_backbone(backbone), listing, listing.count(), device=device)
