"""Whether what `fxengine duplicates` calls the same picture is, and how many planted copies it finds.

python -m bench.duplicates [--photos N | --size N [--folder DIR]]

Real: five folders without planted copies, against bench/duplicates_truth.json, which was made by looking at every pair
that was ever called the same picture, and every near miss. Planted: of N photos of three folders, each edit of
bench/planted.py in a store of its own, beside the photos. Peers, where bench/setup-peers has been run: the hashes PHash
(ImageHash) and PDQ, the CNN method of imagededup with the net that fxengine embeds, and the plain cosine of fxengine's
vectors; each at the widest threshold at which 99.5% of all pairs that it finds are right.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import ROOT, photos, save
from bench.many import measure
from bench.planted import EDITS, MARK, plant
from fxengine import FeatureStore, duplicates, extract
from fxengine.heads.evaluate.interval import exact_interval

REAL = ("cats_dogs", "flowers_300", "imagenet_500", "caltech_20", "holidays_pairs")
PLANTED = ("caltech_20", "flowers_300", "imagenet_500")
SAVED = ("half", "quarter", "q30", "q10")
TRUTH = Path(__file__).with_name("duplicates_truth.json")
PEERS = Path(os.environ.get("FXENGINE_PEERS", ROOT / ".venv-hash-peers" / "bin" / "python"))
CNN_PEER = Path(os.environ.get("FXENGINE_PEERS_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))
PRECISION = 0.995
ROUNDS = 2


def stem(key: str) -> str:
    """Return the name of the photo that a file shows."""
    return key.rpartition(".")[0].split(MARK)[0]


def share(right: int, n: int) -> dict[str, float]:
    """Return a share with its interval."""
    found = exact_interval(right / max(n, 1), n)
    return {"n": n, "share": round(right / max(n, 1), 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def one_picture(name: str) -> dict[str, str]:
    """Return which photos of a folder are one, by the truth file: each file -> one name for all."""
    groups = json.loads(TRUTH.read_text())[name]
    return {stem(key): stem(group[0]) for group in groups for key in group}


def real(name: str, folder: Path) -> dict[str, Any]:
    """Return how many of the pairs that are called the same picture are, in a folder without planted copies."""
    extract(photos(name), folder / name, device="cpu")
    report = duplicates(folder / name)
    one = one_picture(name)
    called = [(row["id"], row["of"]) for row in report.table.to_pylist() if row["kind"] == "same picture"]
    wrong = [pair for pair in called if len({one.get(stem(key), stem(key)) for key in pair}) > 1]
    return {"rows": report.rows, "kinds": report.kinds, "called": len(called), "wrong": wrong}


def planted(name: str, n: int, folder: Path) -> dict[str, Any]:
    """Return the recall of each edit and the precision over all, with what peers find of the same files."""
    plant(photos(name), folder / "all", n)
    one, found, called, wrong, seconds = one_picture(name), {}, 0, 0, 0.0
    for edit in EDITS:
        pair = folder / edit
        for path in (folder / "all").rglob("*.*"):
            if MARK not in path.name or path.stem.endswith(MARK + edit):
                target = pair / path.relative_to(folder / "all")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(path)
        extract(pair, folder / "store", device="cpu")
        start = time.perf_counter()
        rows = duplicates(folder / "store").table.to_pylist()
        seconds += time.perf_counter() - start
        shutil.rmtree(folder / "store")
        kept = {row["id"]: row["id"] if row["keep"] else row["of"] for row in rows}
        copies = {stem(key): kept.get(key, key) for key in map(str, _keys(pair)) if MARK in key}
        originals = {stem(key): kept.get(key, key) for key in map(str, _keys(pair)) if MARK not in key}
        found[edit] = sum(copies[key] == originals[key] for key in originals)
        pairs = [(row["id"], row["of"]) for row in rows if not row["keep"]]
        called += len(pairs)
        wrong += sum(len({one.get(stem(key), stem(key)) for key in pair}) > 1 for pair in pairs)
    count = len(originals)
    return {
        "photos": count,
        "recall_of": {edit: round(right / count, 4) for edit, right in found.items()},
        "recall": share(sum(found.values()), count * len(EDITS)),
        "recall_saved": share(sum(found[edit] for edit in SAVED), count * len(SAVED)),
        "precision": share(called - wrong, called),
        "seconds": round(seconds, 1),
        "peers": peers(folder, one),
    }


def _keys(folder: Path) -> Iterable[Path]:
    return (path.relative_to(folder) for path in folder.rglob("*.*"))


def peers(folder: Path, one: dict[str, str]) -> dict[str, Any]:
    """Return what plain cosine and, where they are installed, hashes find at a precision of 99.5%."""
    start = time.perf_counter()
    extract(folder / "all", folder / "store", device="cpu")
    store = FeatureStore.open(folder / "store")
    ids, vectors = store.ids(), store.vectors().astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = {"plain cosine": at_precision(1 - vectors @ vectors.T, ids, one, np.arange(0, 0.4, 0.005))}
    found["plain cosine"]["seconds, with the net"] = round(time.perf_counter() - start, 1)
    if CNN_PEER.exists():
        found["imagededup's CNN"] = beside_cnn(folder, one)
    if not PEERS.exists():
        return found
    command = [str(PEERS), str(Path(__file__).with_name("hash_peer.py")), str(folder / "all")]
    answers = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for name, answer in answers.items():
        bits = np.array([answer["bits"][key] for key in ids], np.float32)
        far = bits @ (1 - bits).T
        found[name] = at_precision(far + far.T, ids, one, np.arange(0, bits.shape[1] // 3))
        found[name]["seconds"] = round(answer["seconds"], 1)
    return found


def beside_cnn(folder: Path, one: dict[str, str]) -> dict[str, Any]:
    """Return what imagededup's CNN method finds with the same net; seconds of it and of all of fxengine, in turns."""
    seconds: dict[str, list[float]] = {"seconds": [], "seconds of fxengine": []}
    command = [str(CNN_PEER), str(Path(__file__).with_name("cnn_peer.py")), str(folder / "all")]
    for turn in range(ROUNDS):
        start = time.perf_counter()
        extract(folder / "all", folder / f"turn{turn}", device="cpu")
        duplicates(folder / f"turn{turn}")
        seconds["seconds of fxengine"].append(time.perf_counter() - start)
        vectors = folder / "cnn.npy"
        environment = {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run([*command, str(vectors)], capture_output=True, text=True, check=True, env=environment)
        answer = json.loads(done.stdout.splitlines()[-1])
        seconds["seconds"].append(sum(answer["seconds"].values()))
    given = np.load(vectors)
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    found = at_precision(1 - given @ given.T, answer["keys"], one, np.arange(0, 0.4, 0.005))
    return {**found, **{name: round(min(values), 1) for name, values in seconds.items()}}


def at_precision(far: np.ndarray, ids: list[str], one: dict[str, str], thresholds: np.ndarray) -> dict[str, Any]:
    """Return the recall of copies beside their originals at the widest threshold with a precision of 99.5%."""
    names = np.array([one.get(stem(key), stem(key)) for key in ids])
    original = {stem(key): i for i, key in enumerate(ids) if MARK not in key}
    copies = np.array([i for i, key in enumerate(ids) if MARK in key])
    beside = far[copies, [original[stem(ids[i])] for i in copies]]
    a, b = np.triu_indices(len(ids), 1)
    distances, right = far[a, b], names[a] == names[b]
    best = {"threshold": 0.0, "precision": 1.0, "recall": 0.0}
    for threshold in thresholds:
        linked = distances <= threshold
        precision = float(right[linked].mean()) if linked.any() else 1.0
        if precision >= PRECISION:
            recall = float((beside <= threshold).mean())
            best = {
                "threshold": round(float(threshold), 3),
                "precision": round(precision, 4),
                "recall": round(recall, 4),
            }
    return best


def _mean(value: Any) -> float:
    return float(value["share"] if isinstance(value, dict) else value)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100, help="of each folder that copies are planted in")
    parser.add_argument("--size", type=int, help="only time so many made pictures, of which 1%% are copies; print it")
    parser.add_argument("--folder", type=Path, help="with --size: keeps DIR/made and DIR/store, which are made once")
    options = parser.parse_args()
    if options.size is not None:
        print(json.dumps(measure(options.size, options.folder), indent=1))
        return
    result: dict[str, Any] = {"real": {}, "planted": {}}
    with tempfile.TemporaryDirectory() as temporary:
        for name in REAL:
            result["real"][name] = real(name, Path(temporary))
            print(name, result["real"][name], flush=True)
        called = sum(row["called"] for row in result["real"].values())
        wrong = sum(len(row["wrong"]) for row in result["real"].values())
        result["precision_real"] = share(called - wrong, called)
        for name in PLANTED:
            result["planted"][name] = planted(name, options.photos, Path(temporary) / f"planted_{name}")
            print(name, result["planted"][name], flush=True)
        found = result["planted"].values()
        result["rows"] = sum(row["photos"] for row in found) * (1 + len(EDITS))
        for name, ways in (("chosen", found), ("plain_cosine", [row["peers"]["plain cosine"] for row in found])):
            means = {key: [_mean(way[key]) for way in ways] for key in ("recall", "precision")}
            result[name] = {key: round(float(np.mean(values)), 4) for key, values in means.items()}
    save("duplicates", result)


if __name__ == "__main__":
    main()
