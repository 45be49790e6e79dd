"""Pictures with detail at every scale, as photos have it, and second shots of what they show."""

from __future__ import annotations

import numpy as np
from PIL import Image


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return a picture that no other seed gives: clouds of noise from coarse to fine."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for cells, strength in ((4, 60), (9, 45), (20, 30), (45, 18), (100, 8)):
        noise = rng.normal(0, strength, (cells * 3 // 4 + 1, cells + 1))
        drawn = Image.fromarray(noise.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        total += np.asarray(drawn)[:, :, None] * rng.uniform(0.6, 1.0, 3)
    return Image.fromarray((128 + total).clip(0, 255).astype(np.uint8))


def second_shot(image: Image.Image, seed: int) -> Image.Image:
    """Return the same scene from a step aside: near and far move apart by a few pixels, and the sensor has noise."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(image, np.float32)
    height, width = pixels.shape[:2]
    depth = Image.fromarray(rng.uniform(-5, 5, (4, 5)).astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    columns = (np.arange(width) + np.asarray(depth)).round().astype(int).clip(0, width - 1)
    moved = pixels[np.arange(height)[:, None], columns] + rng.normal(0, 3, pixels.shape)
    return Image.fromarray(moved.clip(0, 255).astype(np.uint8))
