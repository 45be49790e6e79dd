"""One peer of bench/search.py, run by the Python that has it: builds, tunes to recall@10 >= 0.95, answers when asked.

python search_peer.py NAME DATA THREADS
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Ask = Callable[[np.ndarray], np.ndarray]
Made = tuple[str, list[int], Callable[[int], None], Ask]


def autofaiss(base: np.ndarray, threads: int) -> Made:
    """What autofaiss chooses with 4 GB for the index, built by it."""
    import faiss
    from autofaiss import build_index

    faiss.omp_set_num_threads(threads)
    index, _ = build_index(
        base, save_on_disk=False, metric_type="ip", max_index_memory_usage="4GB", current_memory_available="16GB",
        nb_cores=threads,
    )  # fmt: skip
    inner = faiss.downcast_index(index)
    kind = type(inner).__name__

    def set_to(value: int) -> None:
        faiss.ParameterSpace().set_index_parameter(index, "efSearch" if "HNSW" in kind else "nprobe", value)

    return kind, _ladder(8, 1024), set_to, lambda queries: index.search(queries, 10)[1]


def usearch(base: np.ndarray, threads: int) -> Made:
    """What usearch makes by its defaults, by cosine in half precision."""
    from usearch.index import Index

    index = Index(ndim=base.shape[1], metric="cos", dtype="f16")
    index.add(np.arange(len(base)), base, threads=threads)

    def set_to(value: int) -> None:
        index.expansion_search = value

    return "HNSW, f16, defaults", _ladder(8, 2048), set_to, lambda q: index.search(q, 10, threads=threads).keys


def hnswlib(base: np.ndarray, threads: int) -> Made:
    """What hnswlib makes with the parameters of its README: M 16, ef_construction 200."""
    from hnswlib import Index

    index = Index(space="ip", dim=base.shape[1])
    index.init_index(max_elements=len(base), ef_construction=200, M=16)
    index.add_items(base, num_threads=threads)
    return "HNSW, M 16", _ladder(10, 2048), index.set_ef, lambda q: index.knn_query(q, 10, num_threads=threads)[0]


def _ladder(first: int, last: int) -> list[int]:
    values = [first]
    while values[-1] < last:
        values.append(min(last, max(values[-1] + 1, round(values[-1] * 1.25))))
    return values


def _recall(data: Any, found: np.ndarray) -> float:
    same = found.astype(np.int64)[:, :, None] == data["found"][:, None, :]
    return float((same & data["near"][:, None, :]).any(axis=2).sum(axis=1).mean() / 10)


def main() -> None:
    """Build, say what was built, then answer "go" with queries a second."""
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    base = np.load(folder / "base.npy")
    tuning, judging = (np.load(folder / f"{half}.npz") for half in ("tune", "judge"))
    begin = time.perf_counter()
    what, values, set_to, ask = {"autofaiss": autofaiss, "usearch": usearch, "hnswlib": hnswlib}[name](base, threads)
    seconds = time.perf_counter() - begin
    for value in values:
        set_to(value)
        if _recall(tuning, ask(tuning["queries"])) >= 0.95:
            break
    queries = judging["queries"]
    recall = _recall(judging, ask(queries))
    print(
        "> " + json.dumps({"what": what, "set_to": value, "recall": recall, "build_seconds": round(seconds)}),
        flush=True,
    )
    for line in sys.stdin:
        if line.strip() != "go":
            return
        begin = time.perf_counter()
        ask(queries)
        print(f"> {len(queries) / (time.perf_counter() - begin)}", flush=True)


if __name__ == "__main__":
    main()
