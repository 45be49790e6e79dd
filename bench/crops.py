"""Makes a store of many real features: random crops of the shared photos; queries come from photos of their own.

python -m bench.crops FOLDER [--base 100000] [--queries 4000]

FOLDER/base and FOLDER/queries are feature stores. What is there already is kept: a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from bench.machine import DATA, photos
from fxengine import Backbone
from fxengine.collect.item import Item
from fxengine.features import parts
from fxengine.features.schema import FEATURE, Provenance

SETS = ("imagenet_500", "caltech_20", "cats_dogs", "flowers_300", "holidays_pairs")
PART = 8192
QUERY_SHARE = 10  # every tenth photo is only for queries


def crop(photo: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Return 8% to 100% of a photo's area at an aspect of 3/4 to 4/3, mirrored by chance, uint8 [224, 224, 3].

    The usual augmentation of ImageNet training (Szegedy et al. 2014, "Going deeper with convolutions", section 6).
    """
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    area = rng.uniform(0.08, 1.0) * photo.width * photo.height
    w, h = min(photo.width, (area * aspect) ** 0.5), min(photo.height, (area / aspect) ** 0.5)
    x, y = rng.uniform(0, photo.width - w), rng.uniform(0, photo.height - h)
    pixels = np.asarray(photo.resize((224, 224), Image.Resampling.BILINEAR, (x, y, x + w, y + h)))
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def crops(files: list[Path], count: int, skip: int) -> Iterator[np.ndarray]:
    """Yield `count` crops but for the first `skip`, the same number of each photo, photo after photo."""
    each = -(-count // len(files))
    for number in range(skip // each, len(files)):
        rng = np.random.default_rng(number)
        with Image.open(files[number]) as image:
            photo = image.convert("RGB")
        for i in range(each):
            place = number * each + i
            made = crop(photo, rng)
            if skip <= place < count:
                yield made


def write_part(folder: Path, start: int, vectors: np.ndarray, provenance: Provenance) -> None:
    """Write one part of rows numbered from `start`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        parts.Row(start + i, Item(f"{start + i:08d}", "", 0, 0), f"{start + i:064x}", 224, 224, None, None)
        for i in range(len(vectors))
    ]
    table = parts.part_table(rows, {FEATURE: vectors.astype(provenance.dtype)}, provenance)
    parts.write_part(table, parts.part_path(folder, start // PART))


def make(folder: Path, files: list[Path], count: int, net: Backbone) -> None:
    """Write the features of `count` crops of these photos, part by part, from the first one that is missing."""
    facts = net.file.facts
    provenance = Provenance(
        space=net.file.fingerprint, source=facts.source, recipe={}, root=str(DATA), dim=net.dim, dtype="float16",
        precision="fp32", engine="onnxruntime", provider="CPUExecutionProvider", decoder="crops",
    )  # fmt: skip
    done = len(parts.list_parts(folder)) * PART if folder.is_dir() else 0
    waiting: list[np.ndarray] = []
    for made in crops(files, count, done):
        waiting.append(made)
        if len(waiting) == PART or done + len(waiting) == count:
            write_part(folder, done, net.embed(waiting), provenance)
            done, waiting = done + len(waiting), []
            print(f"{folder}: {done} of {count}", flush=True)


def main() -> None:
    """Make both stores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=4_000)
    options = parser.parse_args()
    found = sorted(path for name in SETS for path in photos(name).rglob("*.*") if path.is_file())
    found = [found[i] for i in np.random.default_rng(0).permutation(len(found))]
    net = Backbone.load("efficientnet_lite0", device="cpu", batch_size=32)
    make(options.folder / "queries", found[::QUERY_SHARE], options.queries, net)
    make(options.folder / "base", [f for i, f in enumerate(found) if i % QUERY_SHARE], options.base, net)


if __name__ == "__main__":
    main()
