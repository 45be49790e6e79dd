"""How right and how fast search is: exact against a plain product, targets on foreign queries, peers, a million rows.

python -m bench.search FOLDER [PART ...]   parts: exact, targets, peers, million (all unless named)

FOLDER is what `python -m bench.crops FOLDER` made; bench/setup-peers makes the environment of the peers
(FXENGINE_PEERS names another Python). Half of the query photos tune, the other half judge.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.compute as pc

from bench.crops import write_part
from bench.machine import ROOT, interleave, print_table, save
from fxengine import FeatureStore, Index
from fxengine.features.schema import Provenance
from fxengine.neighbours import parameters, tune
from fxengine.neighbours.exact import exact_search, in_blocks
from fxengine.neighbours.file import read_index
from fxengine.neighbours.metric import prepare

TARGETS = (0.95, 0.90, 0.99)
PEERS = ("autofaiss", "usearch", "hnswlib")
PHOTOS = 243  # that the queries come from


def halves(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return queries to tune with and to judge by, from different photos."""
    queries = FeatureStore.open(folder / "queries").vectors(dtype="float32")
    middle = len(queries) // 2
    return queries[:middle], queries[middle:]


def judge(index: Index, queries: np.ndarray) -> dict[str, float]:
    """Return recall@10 of an index with its 95% interval; queries of one photo are not independent of each other."""
    k = parameters.K
    truth = tune.find_truth(in_blocks(index.store.vectors(mmap=True)), queries, index.metric)
    found, _ = index.positions(queries, k)
    hits = tune.is_hit(truth.found, truth.near, found).sum(axis=1) / k
    photo = np.arange(len(queries)) // -(-2 * len(queries) // PHOTOS)
    spread = 1.96 * float(np.sqrt((np.bincount(photo, hits - hits.mean()) ** 2).sum())) / len(hits)
    return {"recall": float(hits.mean()), "low": float(hits.mean() - spread), "high": float(hits.mean() + spread)}


def exact(folder: Path, rounds: int) -> dict[str, Any]:
    """Compare exact search with the matrix product that it needs, in billions of multiply-adds a second."""
    base = FeatureStore.open(folder / "base").vectors()[:50_000]
    queries = halves(folder)[0]  # 2,000, as many as choosing an index asks
    unit, asked = prepare(base, "cosine"), prepare(queries, "cosine")
    out = np.empty((len(asked), max(map(len, in_blocks(unit)))), np.float32)
    work = len(base) * base.shape[1] * len(queries) / 1e9

    def product() -> float:
        begin = time.perf_counter()
        for block in in_blocks(unit):
            np.matmul(asked, block.T, out=out[:, : len(block)])
        return float(work / (time.perf_counter() - begin))

    def search() -> float:
        begin = time.perf_counter()
        exact_search(in_blocks(base), queries, 10, "cosine")
        return float(work / (time.perf_counter() - begin))

    rates = interleave({"exact search from float16": search, "matrix product of float32 alone": product}, rounds)
    print_table(rates, "G multiply-adds/s")
    ours, alone = rates.values()
    return {"rates": rates, "share": {k: round(ours[k] / alone[k], 3) for k in ("best", "median")}}


def targets(folder: Path, _: int) -> dict[str, Any]:
    """Build for each target, tuned on the photos of one half, judged by the other; and once tuned on held-out rows.

    All indexes are tried for 0.95; the others are of the kind that won.
    """
    tuning, judging = halves(folder)
    store = FeatureStore.open(folder / "base")
    result: dict[str, Any] = {}
    factory = None
    for name, target, queries in [*((str(t), t, tuning) for t in TARGETS), ("0.95, held-out rows", 0.95, None)]:
        begin = time.perf_counter()
        index = Index.build(store, recall=target, queries=queries, factory=factory, progress=print)
        seconds = time.perf_counter() - begin
        assert index.facts is not None
        factory = index.facts.trial.factory
        result[name] = {
            "rows": len(index),
            "seconds": round(seconds, 1),
            "trials": [asdict(trial) for trial in index.facts.trials],
            "judged": judge(index, judging),
        }
        print(name, f"{seconds:.0f} s", index.facts.trial, result[name]["judged"], flush=True)
        if name == str(TARGETS[0]):
            index.save(folder / "index-0.95")
    return result


def peers(folder: Path, rounds: int) -> dict[str, Any]:
    """Compare queries a second with peers at recall@10 >= 0.95 on the judging queries, taking turns."""
    tuning, judging = halves(folder)
    store = FeatureStore.open(folder / "base")
    index = Index.load(store, folder=folder / "index-0.95")
    assert index.facts is not None
    made, rows = read_index(folder / "index-0.95", index.facts, store.provenance.dim)
    at = np.asarray(pc.index_in(rows["row"], index.table["row"].combine_chunks()))
    unit = prepare(store.vectors()[at], "cosine")
    truths = {name: tune.find_truth(in_blocks(unit), q, "cosine") for name, q in (("tune", tuning), ("judge", judging))}
    parameters = tune.tune(made, truths["tune"], 0.95)
    result: dict[str, Any] = {
        "fxengine": {"what": index.facts.trial.factory, "set_to": parameters,
                     "recall": tune.recall(truths["judge"], tune.ask(made, truths["judge"], parameters)).at_10}
    }  # fmt: skip

    def ours() -> float:
        begin = time.perf_counter()
        tune.ask(made, truths["judge"], parameters)
        return len(judging) / (time.perf_counter() - begin)

    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        data = Path(temporary)
        np.save(data / "base.npy", unit)
        for name, truth in truths.items():
            np.savez(data / f"{name}.npz", queries=truth.queries, found=truth.found, near=truth.near)
        running = {name: _Peer(name, data) for name in PEERS}
        for name, peer in running.items():
            result[name] = peer.hello
            print(name, peer.hello, flush=True)
        rates = interleave({"fxengine": ours, **{name: peer.rate for name, peer in running.items()}}, rounds)
        for peer in running.values():
            peer.close()
    print_table(rates, "queries/s at recall@10 of 0.95")
    return {name: {**result[name], "queries_per_second": rates[name]} for name in rates}


class _Peer:
    """A peer in a process of its own, which answers the batch once whenever it is asked to."""

    def __init__(self, name: str, data: Path) -> None:
        python = os.environ.get("FXENGINE_PEERS", ROOT / ".venv-search-peers" / "bin" / "python")
        script = Path(__file__).with_name("search_peer.py")
        self._process = subprocess.Popen(
            [python, str(script), name, str(data), str(faiss.omp_get_max_threads())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.hello = json.loads(self._line())

    def rate(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self._process.communicate("stop\n")

    def _line(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("> "):
                return line[2:]
        raise SystemExit("A peer ended early.")


def million(_: Path, __: int, rows: int = 1_000_000, dim: int = 256) -> dict[str, Any]:
    """Build over a million made vectors in 20,000 clouds, a store of float16, asked for recall 0.95."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (20_000, dim)).astype(np.float32)

    def draw(count: int) -> np.ndarray:
        noise = rng.normal(0, 1, (count, dim)).astype(np.float32)
        return centres[rng.integers(0, len(centres), count)] + noise * rng.uniform(0.4, 1.2, (count, 1))

    provenance = Provenance(
        space="made", source="made", recipe={}, root="", dim=dim, dtype="float16", precision="fp32", engine="none",
        provider="none", decoder="none",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        folder = Path(temporary)
        for start in range(0, rows, 8192):
            write_part(folder, start, draw(min(8192, rows - start)), provenance)
        store = FeatureStore.open(folder)
        begin = time.perf_counter()
        index = Index.build(store, recall=0.95, progress=print)
        seconds = time.perf_counter() - begin
        os.environ["FXENGINE_CACHE"] = str(folder / "cache")
        judged = judge(index, draw(2000))
    assert index.facts is not None
    print(f"{seconds:.0f} s", index.facts.trial, judged)
    trials = [asdict(trial) for trial in index.facts.trials]
    return {"rows": rows, "dim": dim, "seconds": round(seconds, 1), "trials": trials, "judged": judged}


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "exact": exact,
    "targets": targets,
    "peers": peers,
    "million": million,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the made vectors")
    options = parser.parse_args()
    for name in options.parts or PARTS:
        if name == "million":
            found = million(options.folder, options.rounds, options.rows)
        else:
            found = PARTS[name](options.folder, options.rounds)
        save(f"search_{name}", {"result": found})


if __name__ == "__main__":
    main()
