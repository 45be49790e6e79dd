"""Peak memory: at 500 and at 20,000 inputs (hard links), over odd_images, and of listing a million files.

python -m bench.memory [--many 20000] [--files 1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.machine import photos, save

_PEAK = """
import json, resource, sys
from fxengine import extract
import numpy, pyarrow
summary = extract(sys.argv[1], sys.argv[2], device="cpu")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([peak, summary.extracted, summary.images_per_second]))
"""
_ODD = """
import json, os, resource, sys, time, warnings
warnings.simplefilter("ignore")
from fxengine import decode, extract
slowest, timed = [0.0], decode.decode_into
def measured(*arguments):
    begin = time.perf_counter()
    try:
        return timed(*arguments)
    finally:
        slowest[0] = max(slowest[0], time.perf_counter() - begin)
decode.decode_into = measured
summary = extract(sys.argv[1], sys.argv[2], device="cpu", decoders=4)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([peak, summary.extracted, sum(summary.failed.values()), slowest[0], summary.seconds]))
"""
_LISTING = """
import json, resource, sys, time
from fxengine.collect import collect
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
count = sum(1 for _ in collect(sys.argv[1]))
seconds = time.perf_counter() - begin
print(json.dumps([(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, count, seconds]))
"""


def link_farm(sources: list[Path], folder: Path, count: int, per_folder: int = 1000) -> None:
    """Fill `folder` with `count` hard links to `sources`, copies where the disk is another one."""
    for i in range(count):
        target = folder / f"{i // per_folder:04d}" / f"{i:07d}.jpg"
        if i % per_folder == 0:
            target.parent.mkdir(parents=True)
        os.link(sources[i % len(sources)], target)


def child(code: str, *arguments: Path) -> list[float]:
    """Run code in a fresh process; return the numbers it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    values: list[float] = json.loads(done.stdout.splitlines()[-1])
    return values


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    options = parser.parse_args()
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        originals = folder / "originals"
        originals.mkdir()
        sources = []
        for path in sorted(photos("imagenet_500").iterdir()):
            (originals / path.name).write_bytes(path.read_bytes())
            sources.append(originals / path.name)
        peaks = {}
        for count in (500, options.many):
            link_farm(sources, folder / str(count), count)
            peak, extracted, rate = child(_PEAK, folder / str(count), folder / f"store{count}")
            assert extracted == count
            peaks[count] = peak
            print(f"{count} inputs: peak {peak / 1e6:.0f} MB, {rate:.0f} images/s")
        growth = peaks[options.many] / peaks[500]
        print(f"growth {growth:.3f}")
        peak, fine, failed, slowest, seconds = child(_ODD, photos("odd_images"), folder / "odd")
        odd = {"peak_bytes": peak, "extracted": fine, "failed": failed, "slowest_decode_s": round(slowest, 2)}
        print(f"odd_images, 4 decoders: peak {peak / 1e6:.0f} MB, slowest file {slowest:.2f} s, {seconds:.1f} s")
        files = folder / "files"
        for i in range(options.files // 1000):
            (files / f"{i:04d}").mkdir(parents=True)
            for j in range(1000):
                (files / f"{i:04d}" / f"{j:04d}.jpg").touch()
        grown, count, seconds = child(_LISTING, files)
        print(f"listing {count:.0f} files: {grown / count:.1f} bytes a file, {seconds:.1f} s")
        result = {
            "peak_bytes": {str(k): v for k, v in peaks.items()},
            "growth": round(growth, 4),
            "odd_images": odd,
            "listing": {"files": count, "bytes_per_file": round(grown / count, 2), "seconds": round(seconds, 2)},
        }
    save("memory", result)


if __name__ == "__main__":
    main()
