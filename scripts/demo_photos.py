"""Writes a small folder of real photos: crops and edits of the two that scikit-learn ships (BSD licence).

Two photos alone would make a search say nothing; here every photo has 24 relatives, a class folder each.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

COUNT = 24


def edit(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a random crop, mirrored, brightened and recoloured by chance."""
    width, height = photo.size
    share = rng.uniform(0.35, 0.8)
    w, h = int(width * share), int(height * share)
    x, y = rng.integers(0, width - w), rng.integers(0, height - h)
    cut = photo.crop((x, y, x + w, y + h))
    if rng.random() < 0.5:
        cut = ImageOps.mirror(cut)
    cut = ImageEnhance.Brightness(cut).enhance(rng.uniform(0.7, 1.3))
    return ImageEnhance.Color(cut).enhance(rng.uniform(0.5, 1.5))


def main(folder: Path) -> None:
    """Write the photos, unless they are there."""
    samples = load_sample_images()
    rng = np.random.default_rng(0)
    for name, pixels in zip(samples.filenames, samples.images, strict=True):
        label = Path(name).stem
        (folder / label).mkdir(parents=True, exist_ok=True)
        photo = Image.fromarray(pixels)
        for i in range(COUNT):
            path = folder / label / f"{label}_{i:02d}.jpg"
            made = photo if i == 0 else edit(photo, rng)
            if not path.exists():
                made.save(path, quality=90)
    print(
        f"{folder}: {COUNT} crops and edits of each of scikit-learn's sample photos ({', '.join(map(str, samples.filenames))})"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
