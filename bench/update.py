"""A run with nothing to do over many files, against walking and stat-ing them in Python.

python -m bench.update [--files 200000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.machine import interleave, print_table, save
from fxengine import extract
from fxengine.backbones import load_backbone
from fxengine.collect import collect
from fxengine.decode.limits import Limits
from fxengine.features import parts
from fxengine.features.known import Known
from fxengine.features.parts import Row
from fxengine.features.schema import FEATURE
from fxengine.features.write import PartWriter
from fxengine.pipeline.plan import provenance_of


def farm(folder: Path, count: int) -> None:
    """Make `count` hard links, a thousand a folder, in two classes."""
    for i in range(count):
        original = folder / f"original{i // 50_000}.jpg"  # a file system bounds the links to one file
        if i % 50_000 == 0:
            original.write_bytes(b"x" * 100)
        target = folder / "photos" / "ab"[i % 2] / f"{i // 1000:04d}" / f"{i:07d}.jpg"
        if i % 1000 < 2:
            target.parent.mkdir(parents=True, exist_ok=True)
        os.link(original, target)


def walk(folder: str) -> int:
    """Walk and stat every file, as plainly as Python does it."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                count += walk(entry.path)
            else:
                entry.stat()
                count += 1
    return count


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        farm(folder, options.files)
        listing = collect(folder / "photos")
        store = folder / "store"
        store.mkdir()
        provenance = provenance_of(
            load_backbone("efficientnet_lite0"), "efficientnet_lite0", listing.root, "float16", Limits()
        )
        writer = PartWriter(store, provenance, 0)
        vector = np.ones(provenance.dim, np.float16)
        for number, item in enumerate(listing):
            writer.append(Row(number, item, "0" * 64, 10, 10, None, None), {FEATURE: vector})
        writer.commit()

        count: int = options.files

        def again() -> float:
            begin = time.perf_counter()
            summary = extract(folder / "photos", store)
            assert (summary.unchanged, summary.extracted) == (count, 0)
            return count / (time.perf_counter() - begin)

        def plain() -> float:
            begin = time.perf_counter()
            assert walk(str(folder / "photos")) == count
            return count / (time.perf_counter() - begin)

        rows = interleave({"run with nothing to do": again, "walk and stat": plain}, options.rounds)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        known = Known.read(parts.list_parts(store))
        table = known.table.nbytes / len(known)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    times = {
        key: round(rows["walk and stat"][key] / rows["run with nothing to do"][key], 3) for key in ("best", "median")
    }
    print_table(rows, "files/s")
    print(f"the run takes {times['best']:.2f}x (best), {times['median']:.2f}x (median) of the walk")
    print(f"{table:.0f} bytes of memory a known row (peak grew by {grown / 1e6:.0f} MB)")
    save(
        "update",
        {"files": options.files, "rates": rows, "times_the_walk": times, "bytes_per_known_row": round(table, 1)},
    )


if __name__ == "__main__":
    main()
