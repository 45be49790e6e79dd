"""The same small photos from a folder, a tar, a zip and a Parquet file; and a folder against an earlier commit.

python -m bench.places [--photos 5000] [--rounds 5] [--before COMMIT]

Each run is a process of its own, and the ways take turns. A container is to keep within 5% of the folder's images a
second and 15% of its peak memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from bench.machine import ROOT, photos, print_table, save, summarise
from tests.places import in_parquet, in_tar, in_zip

_EDGE = 256  # pixels: small photos, of which reading is the largest share
_RUN = """
import json, resource, sys
from fxengine import extract
summary = extract(sys.argv[1], sys.argv[2], device="cpu", precision="fp32")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([summary.extracted, summary.seconds, peak]))
"""


def small_photos(folder: Path, count: int) -> None:
    """Write so many small JPEGs, made from real photos, in two classes."""
    sources = sorted(photos("flowers_300").rglob("*.jpg"))
    for i in range(count):
        target = folder / "ab"[i % 2] / f"{i:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        if i < len(sources):
            image = Image.open(sources[i]).convert("RGB")
            image.thumbnail((_EDGE, _EDGE))
            out = io.BytesIO()
            image.save(out, "JPEG", quality=90)
            target.write_bytes(out.getvalue())
        else:
            done = i % len(sources)
            target.write_bytes((folder / "ab"[done % 2] / f"{done:06d}.jpg").read_bytes())


def run(code: Path, inputs: Path, count: int) -> tuple[float, float]:
    """Return images a second, end to end, and peak memory in bytes, of an extraction by the code in a folder."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-c", _RUN, str(inputs), f"{store}/store"]
        environment = {**os.environ, "PYTHONPATH": str(code)}
        done = subprocess.run(command, env=environment, cwd=store, capture_output=True, text=True, check=True)
    extracted, seconds, peak = json.loads(done.stdout.splitlines()[-1])
    assert extracted == count, done.stdout
    return extracted / seconds, peak


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", help="a commit whose folder run is timed, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        small_photos(made / "folder", options.photos)
        ways = {
            "folder": (ROOT, made / "folder"),
            "tar": (ROOT, in_tar(made / "folder", made / "a.tar")),
            "zip": (ROOT, in_zip(made / "folder", made / "a.zip")),
            "parquet": (ROOT, in_parquet(made / "folder", made / "a.parquet", rows=100)),
        }
        if options.before:
            code = made / "before"
            code.mkdir()
            archive = subprocess.run(["git", "archive", options.before], cwd=ROOT, capture_output=True, check=True)
            subprocess.run(["tar", "x", "-C", str(code)], input=archive.stdout, check=True)
            ways["folder, before"] = (code, made / "folder")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, (code, inputs) in ways.items():
                found[name].append(run(code, inputs, options.photos))
    speeds = {name: summarise([rate for rate, _ in runs]) for name, runs in found.items()}
    peaks = {name: summarise([peak / 1e6 for _, peak in runs]) for name, runs in found.items()}
    print_table(speeds, "images/s")
    print_table(peaks, "peak MB")
    save("places", {"photos": options.photos, "images_per_second": speeds, "peak_mb": peaks})


if __name__ == "__main__":
    main()
