"""Compares the ways of computing a backbone on this machine, on the user's own pictures."""

from __future__ import annotations

from pathlib import Path

from fxengine.backbones import DEFAULT, load_backbone
from fxengine.collect import collect
from fxengine.pipeline.precision import Choice
from fxengine.pipeline.precision import calibrate as compare_ways


def calibrate(photos: str | Path, backbone: str | Path = DEFAULT, *, device: str = "auto") -> Choice:
    """Compare every way on pictures spread evenly over a folder, and remember the best for later runs.

    Raises:
        InputError: the folder or the backbone cannot be used, or too few pictures can be decoded.
        DeviceError: the device was asked for by name and does not start.
    """
    inputs = collect(photos)
    return compare_ways(load_backbone(backbone), inputs, inputs.count(), device=device)
