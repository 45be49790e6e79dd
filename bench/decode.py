"""Decode and resize on one core: fxengine's fast path against plain Pillow, with their agreement.

python -m bench.decode [--rounds 9]
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.machine import interleave, photos, print_table, save
from fxengine.backbones import load_backbone
from fxengine.backbones.spec import FEATURE_OUTPUT, BackboneFile, PictureRecipe
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.execute import open_session


def fast(data: bytes, recipe: PictureRecipe, out: np.ndarray) -> None:
    """Do what fxengine does."""
    picture.decode_into(data, picture.read_header(data, Limits()), recipe, out)


def plain_pillow(data: bytes, recipe: PictureRecipe, out: np.ndarray) -> None:
    """Open, convert, resize, crop: what a plain script does."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = recipe.resized(*image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = recipe.offset(width, recipe.width), recipe.offset(height, recipe.height)
    out[:] = np.asarray(image.crop((left, top, left + recipe.width, top + recipe.height)))


def agreement(blobs: list[bytes], model: Path, recipe: PictureRecipe) -> dict[str, float]:
    """Return pixel difference and feature cosine of the two ways."""
    shape = (len(blobs), recipe.height, recipe.width, 3)
    ours, theirs = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    for i, data in enumerate(blobs):
        fast(data, recipe, ours[i])
        plain_pillow(data, recipe, theirs[i])
    pixels = np.abs(ours.astype(np.int16) - theirs).mean(axis=(1, 2, 3))
    session = open_session(model)
    a, b = (session.run({"images": x}, (FEATURE_OUTPUT,))[FEATURE_OUTPUT] for x in (ours, theirs))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {
        "mean_pixel_difference": float(pixels.mean()),
        "worst_mean_pixel_difference": float(pixels.max()),
        "mean_cosine": float(cosine.mean()),
        "worst_cosine": float(cosine.min()),
    }


def camera_photos(count: int = 12) -> list[bytes]:
    """Return 12-megapixel JPEGs made from flowers_300."""
    blobs = []
    for path in sorted(photos("flowers_300").rglob("*.jpg"))[:: 300 // count][:count]:
        file = io.BytesIO()
        Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
        blobs.append(file.getvalue())
    return blobs


def measure(blobs: list[bytes], rounds: int, backbone: BackboneFile) -> dict[str, Any]:
    """Time both ways in turns, one pass over `blobs` a round, and compare what they give."""
    recipe = backbone.picture_recipe
    out = np.empty((recipe.height, recipe.width, 3), np.uint8)

    def timed(way: Callable[[bytes, PictureRecipe, np.ndarray], None]) -> Callable[[], float]:
        def run() -> float:
            begin = time.perf_counter()
            for data in blobs:
                way(data, recipe, out)
            return len(blobs) / (time.perf_counter() - begin)

        return run

    rows = interleave({"fxengine": timed(fast), "plain Pillow": timed(plain_pillow)}, rounds)
    agree = agreement(blobs, backbone.path, recipe)
    ratio = {key: round(rows["fxengine"][key] / rows["plain Pillow"][key], 3) for key in ("best", "median")}
    print_table(rows, "images/s on one core")
    print(f"fxengine / Pillow: best {ratio['best']:.2f}, median {ratio['median']:.2f}")
    print("agreement:", {key: round(value, 5) for key, value in agree.items()})
    assert agree["worst_mean_pixel_difference"] <= 1.0
    assert agree["mean_cosine"] >= 0.999
    assert agree["worst_cosine"] >= 0.99
    return {"rates": rows, "ratio": ratio, "agreement": agree}


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    backbone = load_backbone("efficientnet_lite0")
    small = [path.read_bytes() for path in sorted(photos("imagenet_500").iterdir())][::4]
    result = measure(small, rounds, backbone)
    print("12-megapixel photos:")
    camera = measure(camera_photos(), max(3, rounds // 2), backbone)
    save("decode", {**result, "photos": "imagenet_500, every fourth", "12_megapixels": camera})


if __name__ == "__main__":
    main()
