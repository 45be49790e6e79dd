"""Decodes one suspicious input in a process of its own, whose crash harms nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.errors import DecodeError
from fxengine.facts import facts_from

_SECONDS = 120
_FAILED = 3


def decode_apart(data: bytes, recipe: PictureRecipe, limits: Limits, out: np.ndarray) -> tuple[int, int]:
    """Do what `read_header` and `decode_into` do, in a child process.

    Raises:
        DecodeError: as they do; `decoder_crash` where the child dies or takes longer than 120 seconds.
    """
    task = json.dumps({"recipe": asdict(recipe), "limits": asdict(limits)})
    command = [sys.executable, "-m", "fxengine.decode.picture.apart", task]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DecodeError("decoder_crash", f"The decoder did not end within {_SECONDS} seconds.") from None
    if done.returncode == _FAILED:
        raise DecodeError(*json.loads(done.stdout))
    if done.returncode != 0:
        raise DecodeError("decoder_crash", "The decoder crashes on this file, and took an earlier run down with it.")
    size, _, pixels = done.stdout.partition(b"\n")
    out[:] = np.frombuffer(pixels, np.uint8).reshape(out.shape)
    width, height = json.loads(size)
    return width, height


def _child() -> int:
    task = json.loads(sys.argv[1])
    recipe = facts_from(PictureRecipe, {"format": 1, **task["recipe"]}, 1)
    data = sys.stdin.buffer.read()
    out = np.empty((recipe.height, recipe.width, 3), np.uint8)
    try:
        size = picture.decode_into(data, picture.read_header(data, Limits(**task["limits"])), recipe, out)
    except DecodeError as error:
        sys.stdout.write(json.dumps([error.code, str(error)]))
        return _FAILED
    sys.stdout.buffer.write(json.dumps(size).encode() + b"\n" + out.tobytes())
    return 0


if __name__ == "__main__":
    raise SystemExit(_child())
