"""How a store is laid out, and how fast it reads: layouts of the vector column, `vectors()`, the mapped copy.

python -m bench.store [--rows 32768] [--rounds 7]
python -m bench.store --part bucket [--rows 32768] [--rounds 3]

A bucket is one whose server waits 20 ms before each answer: a search of it, with an empty cache and then with the copy
that the first one made, against the same store in a folder; processes of their own that take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.machine import ROOT, interleave, photos, print_table, save
from bench.places import bucket
from fxengine import FeatureStore, extract
from fxengine.features import parts
from fxengine.features.schema import FEATURE
from tests.stores import write_store

PHOTOS = ("imagenet_500/*", "caltech_20/*", "cats_dogs/*", "flowers_300/*", "holidays_pairs/*")
LAYOUTS = [
    ("list, plain", "list", "none", "PLAIN"),
    ("list, zstd", "list", "zstd", "PLAIN"),
    ("fixed-size list, plain", "fixed list", "none", "PLAIN"),
    ("fixed-size list, zstd", "fixed list", "zstd", "PLAIN"),
    ("list, byte-stream-split + zstd", "list", "zstd", "BYTE_STREAM_SPLIT"),
    ("binary, plain", "binary", "none", "PLAIN"),
    ("binary, zstd", "binary", "zstd", "PLAIN"),
    ("binary, byte-stream-split + zstd", "binary", "zstd", "BYTE_STREAM_SPLIT"),
]
_PART, _DIM = 8192, 1280
_SEARCH = """
import sys, time
from fxengine.retrieval.search import search
begin = time.perf_counter()
assert search(sys.argv[1], id="00000007", k=5).answers[0].neighbours
print(time.perf_counter() - begin)
"""


def real_store(folder: Path, rows: int) -> FeatureStore:
    """Return a store of real features: each once, then repeated in a random order until there are `rows`."""
    extract(photos("imagenet_500").parent, folder / "photos", device="cpu", include=PHOTOS)
    real = FeatureStore.open(folder / "photos")
    table = parts.read_part(folder / "photos" / "part-000000.parquet")
    table = table.filter(pc.is_null(table["error_code"]))
    chosen = np.random.default_rng(0).integers(0, len(real), rows)
    chosen[: len(real)] = np.arange(len(real))
    (folder / "store").mkdir()
    for number, start in enumerate(range(0, rows, 8192)):
        part = table.take(pa.array(chosen[start : start + 8192]))
        span = range(start, start + len(part))
        part = part.set_column(0, part.schema.field("row"), pa.array(span, pa.int64()))
        part = part.set_column(1, part.schema.field("id"), pa.array([f"{i:08d}.jpg" for i in span]))
        parts.write_part(part.combine_chunks(), parts.part_path(folder / "store", number))
    return FeatureStore.open(folder / "store")


def real_rows(folder: Path) -> int:
    """Return how many different features there are."""
    return len(FeatureStore.open(folder / "photos").ids())


def column(kind: str, vectors: np.ndarray) -> pa.Array:
    """Return the vectors as a list, a fixed-size list, or as fixed-size binary."""
    if kind == "list":
        kind_of = pa.list_(pa.field("element", pa.from_numpy_dtype(vectors.dtype), nullable=False))
        return parts.vector_array(vectors, np.zeros(len(vectors), bool), kind_of)
    if kind == "fixed list":
        value = pa.field("element", pa.from_numpy_dtype(vectors.dtype), nullable=False)
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=pa.list_(value, vectors.shape[1]))
    width = vectors.shape[1] * vectors.itemsize
    return pa.Array.from_buffers(pa.binary(width), len(vectors), [None, pa.py_buffer(vectors)])


def layouts(vectors: np.ndarray, folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Return layout and rows of a row group -> megabytes on disk and gigabytes read a second."""
    result: dict[str, dict[str, Any]] = {}
    ways: dict[str, Callable[[], float]] = {}
    for name, kind, compression, encoding in LAYOUTS:
        for group in (512, 8192):
            path = folder / f"{len(ways)}.parquet"
            pq.write_table(
                pa.table({"f": column(kind, vectors)}), path, compression=compression, use_dictionary=False,
                column_encoding={"f" if kind == "binary" else "f.list.element": encoding}, write_statistics=False,
                row_group_size=group, write_page_checksum=True,
            )  # fmt: skip
            key = f"{name}, groups of {group}"
            result[key] = {"megabytes": round(path.stat().st_size / 1e6, 1)}
            ways[key] = lambda path=path: _rate(  # type: ignore[misc]
                vectors.nbytes, lambda: pq.ParquetFile(path, page_checksum_verification=True).read()
            )
    for key, rate in interleave(ways, rounds).items():
        result[key]["gigabytes_per_second"] = rate
    return result


def _rate(count: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return count / 1e9 / (time.perf_counter() - begin)


def bucket_part(rows: int, rounds: int) -> None:
    """Measure searches of a store in a bucket, and print."""
    seconds: dict[str, list[float]] = {
        "folder, first": [],
        "folder, second": [],
        "bucket, first": [],
        "bucket, second": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "made").mkdir()
        rng = np.random.default_rng(0)
        for number, start in enumerate(range(0, rows, _PART)):
            numbers = list(range(start, min(start + _PART, rows)))
            vectors = rng.normal(size=(len(numbers), _DIM)).astype(np.float16)  # of no more pattern than real ones
            write_store(
                folder / "made" / "store", vectors, ids=[f"{i:08d}" for i in numbers], rows=numbers, part=number
            )
        with bucket(folder / "made", 0) as environment:
            for turn in range(rounds):
                for name, place in (("folder", str(folder / "made" / "store")), ("bucket", "s3://bench/store")):
                    own = {**environment, "FXENGINE_CACHE": str(folder / f"{name} {turn}")}
                    for when in ("first", "second"):
                        seconds[f"{name}, {when}"].append(_searched(place, own))
    found = {name: {"median": statistics.median(each), "fastest": min(each)} for name, each in seconds.items()}
    for name, each in found.items():
        print(f"{name:<16} {each['median']:.2f} s median, {each['fastest']:.2f} s fastest")
    save("store_bucket", {"rows": rows, "dim": _DIM, "parts": -(-rows // _PART), "rounds": rounds, "seconds": found})


def _searched(place: str, environment: dict[str, str]) -> float:
    command = [sys.executable, "-c", _SEARCH, place]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return round(float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout), 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("layouts", "bucket"), default="layouts")
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.part == "bucket":
        bucket_part(options.rows, options.rounds)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["FXENGINE_CACHE"] = str(folder / "cache")
        store = real_store(folder, options.rows)
        vectors = store.vectors()
        np.testing.assert_array_equal(store.vectors(mmap=True), vectors)
        # The real ones, each once: repeated rows would compress as no store does.
        made = layouts(np.ascontiguousarray(vectors[: real_rows(folder)]), folder, options.rounds)
        for name, row in made.items():
            rate = row["gigabytes_per_second"]
            print(f"{name:<52} {row['megabytes']:7.1f} MB  {rate['best']:6.2f} best {rate['median']:6.2f} median GB/s")
        target = np.empty_like(vectors)
        files = sorted((folder / "store").glob("*.parquet"))

        def arrow() -> None:
            for file in files:
                pq.ParquetFile(file, page_checksum_verification=True).read(columns=[FEATURE])

        rates = interleave(
            {
                "vectors()": lambda: _rate(vectors.nbytes, store.vectors),
                "pyarrow reads the column": lambda: _rate(vectors.nbytes, arrow),
                "vectors(mmap=True), copied": lambda: _rate(
                    vectors.nbytes, lambda: np.copyto(target, store.vectors(mmap=True))
                ),
                "copy in memory": lambda: _rate(vectors.nbytes, lambda: np.copyto(target, vectors)),
            },
            options.rounds,
        )
    scaled = {
        name: {key: value * 1000 if key != "spread" else value for key, value in row.items()}
        for name, row in rates.items()
    }
    print_table(scaled, "MB/s")
    shares = {
        "vectors() / pyarrow": ("vectors()", "pyarrow reads the column"),
        "mapped / copy in memory": ("vectors(mmap=True), copied", "copy in memory"),
    }
    ratio = {n: {k: round(rates[a][k] / rates[b][k], 3) for k in ("best", "median")} for n, (a, b) in shares.items()}
    print(ratio)
    save("store", {"rows": options.rows, "layouts": made, "rates_gb_s": rates, "ratio": ratio})


if __name__ == "__main__":
    main()
