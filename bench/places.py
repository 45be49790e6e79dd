"""The same small photos from a folder, a tar, a zip and a Parquet file; a folder against an earlier commit; a video.

python -m bench.places [--photos 5000] [--rounds 5] [--before COMMIT]
python -m bench.places --part bucket [--photos 5000] [--rounds 5] [--keys 1000000]
python -m bench.places --part video [--minutes 60] [--rounds 5]

Each run is a process of its own, and the ways take turns. A container is to keep within 5% of the folder's images a
second and 15% of its peak memory. A bucket whose server waits 20 ms before each answer is to keep 90% of the folder's
images a second, and to be listed in memory that does not grow. Keyframes of a video of so many minutes are to come at
0.9 of the rate of PyAV's own loop at them alone, from the listing to the last pixel, in memory that does not grow with
the minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from bench.machine import ROOT, photos, print_table, save, summarise
from tests.places import in_parquet, in_tar, in_zip

_EDGE = 256  # pixels: small photos, of which reading is the largest share
_PEAK = "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024"  # of this program alone
_RUN = f"""
import json, sys
from fxengine import extract
summary = extract(sys.argv[1], sys.argv[2], device="cpu", precision="fp32")
print(json.dumps([summary.extracted, summary.seconds, {_PEAK}]))
"""

_VIDEO_RUNS = {
    "fxengine": f"""
import json, sys, time
from fxengine.collect import collect
from fxengine.pipeline.lookahead import READERS
from concurrent.futures import ThreadPoolExecutor
import fxengine.collect.video
begin = time.perf_counter()
listing = collect(sys.argv[1])
with ThreadPoolExecutor(READERS) as pool:  # as a run has them
    count = sum(pool.map(lambda item: listing.read(item, 1 << 40)[0].shape == (1080, 1920, 3), listing))
print(json.dumps([count, time.perf_counter() - begin, {_PEAK}]))
""",
    "PyAV": f"""
import av, json, sys, time
begin, count = time.perf_counter(), 0
with av.open(sys.argv[1]) as opened:
    stream = opened.streams.video[0]
    stream.codec_context.skip_frame = "NONKEY"
    for frame in opened.decode(stream):
        count += frame.to_ndarray(format="rgb24").shape == (1080, 1920, 3)
print(json.dumps([count, time.perf_counter() - begin, {_PEAK}]))
""",
}


# The peak is that of /proc: `getrusage` begins with what the process had that started this one.
_LIST = """
import json, sys, time
from pathlib import Path
from fxengine.collect import collect
def peak():
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
begin, listing = time.perf_counter(), collect(sys.argv[1])
before, count = peak(), listing.count()
surveyed = time.perf_counter() - begin
assert sum(1 for _ in listing) == count
print(json.dumps([count, surveyed, time.perf_counter() - begin, before, peak()]))
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


def run(
    code: Path, inputs: str | Path, count: int, further: Mapping[str, str] = MappingProxyType({})
) -> tuple[float, float]:
    """Return images a second, end to end, and peak memory in bytes, of an extraction by the code in a folder."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-c", _RUN, str(inputs), f"{store}/store"]
        environment = {**os.environ, "PYTHONPATH": str(code), **further}
        done = subprocess.run(command, env=environment, cwd=store, capture_output=True, text=True, check=True)
    extracted, seconds, peak = json.loads(done.stdout.splitlines()[-1])
    assert extracted == count, done.stdout
    return extracted / seconds, peak


def video(folder: Path, minutes: int) -> Path:
    """Write a video of 1080p: a minute of panning over photos, joined so many times without encoding it again."""
    import av

    rate, edges = 30, (1920, 1080)
    stills = [Image.open(path).convert("RGB") for path in sorted(photos("flowers_300").rglob("*.jpg"))[:10]]
    wide = [np.asarray(still.resize((edges[0] + 200, edges[1]))) for still in stills]
    minute, joined = folder / "minute.mp4", folder / f"{minutes}.mp4"
    if not minute.exists():
        with av.open(str(minute), "w") as out:
            stream = out.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
            stream.width, stream.height = edges
            stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 2 * rate
            for number in range(60 * rate):
                still, begin = divmod(number, 6 * rate)
                pixels = np.ascontiguousarray(wide[still][:, begin : begin + edges[0]])
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            out.mux(stream.encode(None))
    with av.open(str(joined), "w") as out:
        to = None
        for number in range(minutes):
            with av.open(str(minute)) as opened:
                source = opened.streams.video[0]
                to = to or out.add_stream_from_template(source)
                for packet in opened.demux(source):
                    if packet.dts is not None and packet.pts is not None:
                        shift = int(60 * number / (source.time_base or 1))
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, to
                        out.mux(packet)
    return joined


def compare_videos(minutes: int, rounds: int) -> None:
    """Measure keyframes of a video of so many minutes, and of a sixth of them, and print."""
    with tempfile.TemporaryDirectory() as temporary:
        lengths = (max(1, minutes // 6), minutes)
        paths = {length: video(Path(temporary), length) for length in lengths}
        ways = {f"{name}, {n} min": (code, paths[n]) for name, code in _VIDEO_RUNS.items() for n in lengths}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (code, path) in ways.items():
                command = [sys.executable, "-c", code, str(path)]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
                count, seconds, peak = json.loads(done.stdout)
                assert count == int(name.split()[-2]) * 30, done.stdout
                found[name].append((count / seconds, peak))
        megabytes = {f"{length} min": round(path.stat().st_size / 1e6) for length, path in paths.items()}
    speeds = {name: summarise([rate for rate, _ in runs]) for name, runs in found.items()}
    peaks = {name: summarise([peak / 1e6 for _, peak in runs]) for name, runs in found.items()}
    print_table(speeds, "keyframes/s")
    print_table(peaks, "peak MB")
    save("places_video", {"megabytes": megabytes, "keyframes_per_second": speeds, "peak_mb": peaks})


@contextmanager
def bucket(folder: Path, keys: int) -> Iterator[dict[str, str]]:
    """Serve so many keys from a process of its own; yield the environment by which they are reached."""
    command = [sys.executable, "-m", "bench.bucket_server", str(folder), str(keys)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ALLOW_HTTP": "true",
                "AWS_SKIP_SIGNATURE": "true",
                "AWS_REGION": "us-east-1",
            }
        finally:
            server.terminate()


def listing(keys: int, environment: dict[str, str]) -> dict[str, float]:
    """Return how long two passes over the keys of a bucket take, and what memory."""
    command = [sys.executable, "-c", _LIST, "s3://bench"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    count, first, both, before, peak = json.loads(done.stdout)
    assert count == keys, done.stdout
    return {
        "keys": keys,
        "first_pass_seconds": round(first, 1),
        "both_passes_seconds": round(both, 1),
        "before_mb": round(before / 1e6, 1),
        "peak_mb": round(peak / 1e6, 1),
    }


def bucket_part(count: int, rounds: int, keys: int) -> None:
    """Measure a bucket against the folder, and the listing of a large one."""
    found: dict[str, list[float]] = {"folder": [], "bucket": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "folder")
        small_photos(folder, count)
        with bucket(folder, count) as environment:
            for _ in range(rounds):
                found["folder"].append(run(ROOT, folder, count)[0])
                found["bucket"].append(run(ROOT, "s3://bench", count, environment)[0])
        with bucket(folder, keys) as environment:
            listings = [listing(keys, environment)]
        with bucket(folder, keys // 10) as environment:
            listings.append(listing(keys // 10, environment))
    speeds = {name: summarise(rates) for name, rates in found.items()}
    print_table(speeds, "images/s")
    shares = [b / a for a, b in zip(found["folder"], found["bucket"], strict=True)]
    print(f"bucket / folder: {summarise(shares)}")
    print(*listings, sep="\n")
    save("places_bucket", {"photos": count, "images_per_second": speeds, "share": summarise(shares), "lists": listings})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", help="a commit whose folder run is timed, too")
    parser.add_argument("--part", choices=["containers", "bucket", "video"], default="containers")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the bucket that is only listed")
    parser.add_argument("--minutes", type=int, default=60, help="of the video")
    options = parser.parse_args()
    if options.part == "video":
        compare_videos(options.minutes, options.rounds)
        return
    if options.part == "bucket":
        bucket_part(options.photos, options.rounds, options.keys)
        return
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
