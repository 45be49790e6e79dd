"""What a store of a million rows takes: seconds and memory of every piece of work, each in a process of its own.

python -m bench.size [--rows 1000000] [--classes 1000] [--folder FOLDER] [--limit SECONDS] [--part NAME ...] [-o FILE]

The store is made up (bench/hard_store.py), and kept in the folder where one is given. Memory is what a process holds of
its own: pages of mapped files, as those of the copy in the cache, are the system's to take back. `product` is all rows
times 1,000 columns in float32, and every time is told as a multiple of it, too. At 200,000 rows each takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.hard_store import timed, write_store
from bench.machine import machine

_LOOKED_EVERY = 0.05  # seconds
_COLUMNS = 1000  # of the product
_SHARE = 100  # one input in so many is changed, one renamed, and as many are new


def _product(store: Path) -> dict[str, Any]:
    from fxengine.features.blocks import store_blocks
    from fxengine.features.read import FeatureStore

    opened = FeatureStore.open(store)
    numbers = np.asarray(opened.rows(["row"])["row"])
    by = np.random.default_rng(0).standard_normal((opened.provenance.dim, _COLUMNS), np.float32)
    seconds = 0.0
    for x, _ in store_blocks(opened, numbers, often=True)():
        begin = time.perf_counter()
        x @ by
        seconds += time.perf_counter() - begin
    return {"product_s": round(seconds, 2)}


def _copy(store: Path) -> dict[str, Any]:
    from fxengine.cache import kind_folder
    from fxengine.features.read import FeatureStore

    for path in kind_folder("vectors").glob("*.npy"):
        path.unlink()
    return {"shape": list(FeatureStore.open(store).vectors(mmap=True).shape)}


def _search(store: Path) -> dict[str, Any]:
    from fxengine.retrieval.search import search

    report = search(store, id=["000000100.jpg"])
    return {"method": report.method, "open_ms": report.open_ms, "search_ms": report.search_ms}


def _duplicates(store: Path) -> dict[str, Any]:
    from fxengine.retrieval.duplicates import duplicates

    return duplicates(store, progress=_tell).kinds


def _cluster(store: Path) -> dict[str, Any]:
    from fxengine.retrieval.cluster import cluster

    report = cluster(store, 1000, **_told(cluster))
    return {"mean_spread": round(float(np.mean(report.table["distance"].to_numpy())), 5)}


def _map(store: Path) -> dict[str, Any]:
    from fxengine.retrieval.map import map

    return {"explained": map(store, progress=_tell).explained}


def _index(store: Path) -> dict[str, Any]:
    from fxengine.neighbours.index_store import index

    report = index(store, rebuild=True, progress=_tell)
    trial = report.facts.trial
    return {"factory": trial.factory, "recall": trial.recall.at_10, "megabytes": round(trial.megabytes)}


def _mislabeled(store: Path) -> dict[str, Any]:
    from fxengine.probing.mislabeled import mislabeled

    found = mislabeled(store, progress=_tell)
    return {"issues": found.issues, "checked": found.checked}


def _verify(store: Path) -> dict[str, Any]:
    from fxengine.repair.verify import verify

    return {"fine": verify(store, **_told(verify)).fine}


def _head(name: str) -> Callable[[Path], dict[str, Any]]:
    def run(store: Path) -> dict[str, Any]:
        from fxengine.probing.probe import probe

        report = probe(store, store.with_suffix(f".{name}.onnx"), head=name, near=2, progress=_tell)
        return {"accuracy": report.score.mean}

    return run


def _update(store: Path) -> dict[str, Any]:
    """Bring a store up to date of which 1% was changed, 1% renamed, and to which 1% came; no net runs.

    Inputs are no pictures: what is new or changed becomes a row that says so, which takes all of a run but the net.
    """
    from bench.update import walk
    from fxengine import extract

    root = store.parent / "inputs"
    begin = time.perf_counter()
    files = walk(str(root))
    listing = time.perf_counter() - begin
    before = {path.name: path.stat().st_mtime_ns for path in store.glob("part-*.parquet")}
    begin = time.perf_counter()
    summary = extract(root, store, prune=True, device="cpu")
    seconds = time.perf_counter() - begin
    same = sum(path.stat().st_mtime_ns == before.get(path.name) for path in store.glob("part-*.parquet"))
    return {
        "files": files,
        "walk_s": round(listing, 2),
        "run_s": round(seconds, 2),
        "parts": len(before),
        "parts_untouched": same,
        "unchanged": summary.unchanged,
        "changed": summary.changed,
        "moved": summary.moved,
    }


def _prepare_update(store: Path, rows: int) -> Path:
    """Make as many inputs, 1,000 a folder, their store without a net, and then the changes; return the store."""
    from bench.update import farm
    from fxengine.backbones import load_backbone
    from fxengine.collect import collect
    from fxengine.decode.limits import Limits
    from fxengine.features.parts import Row
    from fxengine.features.schema import FEATURE
    from fxengine.features.write import PartWriter
    from fxengine.pipeline.plan import provenance_of

    folder = Path(tempfile.mkdtemp(prefix="update-", dir=store.parent))
    farm(folder, rows)
    root, made = folder / "inputs", folder / "store"
    (folder / "photos").rename(root)
    made.mkdir()
    renamed = [path for path in sorted((root / "a").rglob("*.jpg"))[-(rows // _SHARE) :]]
    for number, path in enumerate(renamed):  # each of its own content, or none could be told from the others
        path.unlink()
        path.write_bytes(b"r" * 200 + str(number).encode())
    listing = collect(root)
    provenance = provenance_of(
        load_backbone("efficientnet_lite0"), "efficientnet_lite0", listing.root, "float16", Limits()
    )
    provenance = replace(provenance, precision="fp32", engine="onnxruntime", provider="cpu", decoder="none")
    writer = PartWriter(made, provenance, 0)
    vectors = np.random.default_rng(0).standard_normal((997, provenance.dim)).astype(np.float16)
    own = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in renamed}
    shared = hashlib.sha256(b"x" * 100).hexdigest()
    for number, item in enumerate(listing):
        row = Row(number, item, own.get(item.key, shared), 10, 10, None, None)
        writer.append(row, {FEATURE: vectors[number % len(vectors)]})
    writer.commit()
    for number, path in enumerate(renamed):
        path.rename(path.with_name(f"renamed-{number:07d}.jpg"))
    for path in sorted((root / "a").rglob("*.jpg"))[: rows // _SHARE]:
        path.unlink()
        path.write_bytes(b"changed")
    for number in range(rows // _SHARE):
        path = root / "new" / f"{number // 1000:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"new" + str(number).encode())
    return made


def _tell(said: str) -> None:
    print(said, file=sys.stderr, flush=True)


def _told(command: Callable[..., object]) -> dict[str, Any]:
    """Return `progress` where a command takes it: earlier commits, which this is compared with, did not."""
    import inspect

    return {"progress": _tell} if "progress" in inspect.signature(command).parameters else {}


# What is measured, in this order: the first make the copy in the cache that the others read.
PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "copy": _copy,
    "product": _product,
    "search": _search,
    "verify": _verify,
    "map": _map,
    "duplicates": _duplicates,
    "cluster": _cluster,
    "ridge": _head("ridge"),
    "lda": _head("lda"),
    "mislabeled": _mislabeled,
    "index": _index,
    "update": _update,
    "logistic": _head("logistic"),
}


def measure(name: str, store: Path, limit: float) -> dict[str, Any]:
    """Run one of `PARTS` in a process; return what it says, its seconds and the most memory of its own in MB."""
    command = [sys.executable, "-m", "bench.size", "--run", name, "--store", str(store)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    most, begin = 0, time.perf_counter()
    while child.poll() is None:
        most = max(most, _own_bytes(child.pid))
        if time.perf_counter() - begin > limit:
            child.kill()
            child.wait()
            return {"not_done_after_s": limit, "own_mb": round(most / 1e6)}
        time.sleep(_LOOKED_EVERY)
    assert child.stdout is not None
    said = child.stdout.read()
    if child.returncode:
        raise SystemExit(f"{name} failed.")
    return {"own_mb": round(most / 1e6), **json.loads(said.splitlines()[-1])}


def _own_bytes(pid: int) -> int:
    """Return the memory that a process holds of its own, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the store and the cache are made, and kept")
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--limit", type=float, default=3600, help="seconds after which a piece is given up")
    parser.add_argument("--store", type=Path, help="one that is there, instead of a made one")
    parser.add_argument("-o", "--output", type=Path, help="a .json file to write the figures to")
    parser.add_argument("--run", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        timed(lambda: PARTS[options.run](options.store))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["FXENGINE_CACHE"] = str(folder / "cache")
        store = options.store or folder / f"s{options.rows}x{options.classes}"
        if not store.exists() and options.part != ["update"]:
            write_store(store, options.rows, 1, classes=options.classes)
        found: dict[str, Any] = {}
        for name in options.part:
            at = _prepare_update(store, options.rows) if name == "update" else store
            found[name] = {"load": os.getloadavg()[0], **measure(name, at, options.limit)}
            print(f"{name:<12}{json.dumps(found[name])}", flush=True)
        unit = found.get("product", {}).get("product_s")
        for name, each in found.items():
            times = f"{each['seconds'] / unit:8.2f}x" if unit and "seconds" in each else ""
            print(f"{name:<12}{each.get('seconds', float('nan')):9.1f} s {each['own_mb']:7} MB {times}")
        if options.output:
            result = {"machine": machine(), "rows": options.rows, "classes": options.classes, "pieces": found}
            options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
