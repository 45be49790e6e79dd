"""Copies of photos with known edits, for bench/duplicates.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

MARK = "__"  # stands before the name of the edit in a file's name


def plant(source: Path, target: Path, most: int) -> None:
    """Write so many photos of a folder and a copy of each for each of `EDITS`, as NAME__EDIT.jpg."""
    rng = np.random.default_rng(0)
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    for path in (paths[i] for i in sorted(rng.permutation(len(paths))[:most])):
        folder = target / path.relative_to(source).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        for name, edit in EDITS.items():
            copy, quality = edit(image, rng)
            copy.save(folder / f"{path.stem}{MARK}{name}.jpg", quality=quality)


Edit = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, int]]


def _resized(share: float) -> Edit:
    def edit(image: Image.Image, _: np.random.Generator) -> tuple[Image.Image, int]:
        size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        return image.resize(size, Image.Resampling.BICUBIC), 90

    return edit


def _saved(quality: int) -> Edit:
    return lambda image, _: (image, quality)


def _cropped(area: float) -> Edit:
    def edit(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
        w, h = int(image.width * area**0.5), int(image.height * area**0.5)
        x, y = int(rng.integers(0, image.width - w + 1)), int(rng.integers(0, image.height - h + 1))
        return image.crop((x, y, x + w, y + h)), 90

    return edit


def _mirrored(image: Image.Image, _: np.random.Generator) -> tuple[Image.Image, int]:
    return ImageOps.mirror(image), 90


def _turned(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    return image.rotate(int(rng.choice([90, 180, 270])), expand=True), 90


def _grey(image: Image.Image, _: np.random.Generator) -> tuple[Image.Image, int]:
    return image.convert("L").convert("RGB"), 90


def _lit(factor: float) -> Edit:
    return lambda image, _: (ImageEnhance.Brightness(image).enhance(factor), 90)


def _bordered(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    return ImageOps.expand(image, max(2, round(0.08 * min(image.size))), colour), 90


def _written_on(image: Image.Image, _: np.random.Generator) -> tuple[Image.Image, int]:
    copy = image.copy()
    font = ImageFont.load_default(max(8, round(0.09 * image.height)))
    place = (0.05 * image.width, 0.8 * image.height)
    ImageDraw.Draw(copy).text(place, "sample text 2024", "white", font, stroke_width=1, stroke_fill="black")
    return copy, 90


EDITS: dict[str, Edit] = {
    "half": _resized(0.5),
    "quarter": _resized(0.25),
    "q30": _saved(30),
    "q10": _saved(10),
    "crop90": _cropped(0.9),
    "crop70": _cropped(0.7),
    "crop50": _cropped(0.5),
    "mirrored": _mirrored,
    "turned": _turned,
    "grey": _grey,
    "darker": _lit(0.6),
    "brighter": _lit(1.5),
    "border": _bordered,
    "text": _written_on,
}
