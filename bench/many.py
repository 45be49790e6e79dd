"""Very many small pictures that were made of real photos, of which some are planted copies, for bench/duplicates.py.

Each is a mixture of two crops of two photos, weighted anew in every quarter of the frame, so that pictures have much in
common with others and none is another. One in a hundred is a copy of one before it, by an edit of bench/planted.py.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from bench.machine import photos
from bench.planted import EDITS, MARK
from fxengine import duplicates, extract
from fxengine.neighbours.groups import candidate_pairs, choose_threshold, whiten
from fxengine.neighbours.index import Index
from fxengine.neighbours.pairs import neighbour_pairs

SETS = ("imagenet_500", "caltech_20", "cats_dogs", "flowers_300", "holidays_pairs")
_COPIES = 100  # one picture in so many is a copy
_FOLDER = 1000  # pictures of a folder, made by one process
_EDGE = 320  # pixels of the longer edge of a photo that crops are taken of


def make(target: Path, count: int) -> None:
    """Write so many pictures of 160 to 256 pixels below `target`: FFF/NNNNNNN.jpg, copies FFF/NNNNNNN__EDIT.jpg."""
    found = sorted(path for name in SETS for path in photos(name).rglob("*.*") if path.is_file())
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        sources = list(pool.map(_small, found, chunksize=64))
    _SOURCES.extend(sources)  # children are forked below and share them
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_make_folder, target, count), range(-(-count // _FOLDER))))
    _SOURCES.clear()


def measure(count: int, folder: Path | None = None) -> dict[str, float]:
    """Return the seconds of candidates alone and of all of `duplicates`, their multiple, its peak memory, its finds.

    Args:
        count: of pictures.
        folder: where they and their store are kept, and taken from where they are there; a temporary one unless given.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return measure(count, Path(temporary))
    made, store = folder / "made", folder / "store"
    if sum(1 for _ in made.rglob("*.jpg")) != count:
        make(made, count)
    extract(made, store, device="cpu")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:  # so that no memory is left over
        candidates, near = fresh.submit(_measured, _candidates, store).result()
        whole, rows = fresh.submit(_measured, _rows, store).result()
    kept = {row["id"]: row["id"] if row["keep"] else row["of"] for row in rows}
    copies = [path.relative_to(made).as_posix() for path in made.rglob(f"*{MARK}*.jpg")]
    found = [kept.get(key, key) == kept.get(_original(key), _original(key)) for key in copies]
    called = [(row["id"], row["of"]) for row in rows if not row["keep"]]
    right = sum(_original(a) == _original(b) for a, b in called)
    return {
        "pictures": count,
        "near": near,
        **{f"candidates_{name}": value for name, value in candidates.items()},
        **{f"whole_{name}": value for name, value in whole.items()},
        "multiple": round(whole["seconds"] / candidates["seconds"], 2),
        "multiple_cpu": round(whole["cpu_seconds"] / candidates["cpu_seconds"], 2),
        "copies": len(copies),
        "recall": round(sum(found) / max(len(copies), 1), 4),
        **{f"found_{edit}": _found(edit, copies, found) for edit in EDITS},
        "precision": round(right / max(len(called), 1), 4),
    }


def _measured(work: Callable[[Path], Any], store: Path) -> tuple[dict[str, float], Any]:
    """Return what some work takes, and what it returns."""
    with _Peak() as peak:
        start, cpu = time.perf_counter(), time.process_time()
        found = work(store)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    took = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak.bytes / 1e6, "peak_own_mb": peak.own / 1e6}
    return {name: round(value, 1) for name, value in took.items()}, found


def _rows(store: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = duplicates(store).table.to_pylist()
    return rows


def _candidates(store: Path) -> int:
    """Return how many candidates there are, found as `duplicates` does, and nothing else done."""
    index = Index.exact(store)
    whitened = whiten(index.matrix)
    choose_threshold(whitened)
    return sum(len(a) for a, _, _ in candidate_pairs(whitened, 0.2, 16, neighbour_pairs(index.matrix)))


def _found(edit: str, copies: list[str], found: list[bool]) -> float:
    of = [right for key, right in zip(copies, found, strict=True) if key.split(MARK)[1].startswith(edit)]
    return round(sum(of) / max(len(of), 1), 3)


def _original(key: str) -> str:
    return key if MARK not in key else f"{key.split(MARK)[0]}.jpg"


class _Peak:
    """The most memory that this process holds while the block runs, and of its own, without files that are mapped.

    It is looked at twenty times a second.
    """

    def __enter__(self) -> _Peak:
        self.bytes, self.own, self._over = 0, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            held = psutil.Process().memory_info()
            self.bytes, self.own = max(self.bytes, held.rss), max(self.own, held.rss - held.shared)


_SOURCES: list[Image.Image] = []


def _small(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (_EDGE, _EDGE))
        photo = image.convert("RGB")
    photo.thumbnail((_EDGE, _EDGE))
    return photo


def _make_folder(target: Path, count: int, number: int) -> None:
    rng = np.random.default_rng(number)
    folder = target / f"{number:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    names, made = list(EDITS), list[tuple[str, Image.Image]]()
    for i in range(number * _FOLDER, min(count, (number + 1) * _FOLDER)):
        if i % _COPIES == _COPIES - 1:
            of, image = made[int(rng.integers(len(made)))]
            edit = names[i // _COPIES % len(names)]
            copy, quality = EDITS[edit](image, rng)
            copy.save(folder / f"{of}{MARK}{edit}{i:07d}.jpg", quality=quality)
        else:
            made.append((f"{i:07d}", _mixture(rng)))
            made[-1][1].save(folder / f"{i:07d}.jpg", quality=85)


def _mixture(rng: np.random.Generator) -> Image.Image:
    size = int(rng.integers(160, 257)), int(rng.integers(160, 257))
    first, second = (_crop(_SOURCES[int(i)], size, rng) for i in rng.choice(len(_SOURCES), 2, replace=False))
    weights = Image.fromarray(rng.integers(50, 206, (2, 2), dtype=np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return Image.composite(first, second, weights)


def _crop(photo: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.3, 0.9) ** 0.5
    w, h = photo.width * share, photo.height * share
    x, y = rng.uniform(0, photo.width - w), rng.uniform(0, photo.height - h)
    return photo.resize(size, Image.Resampling.BILINEAR, (x, y, x + w, y + h))
