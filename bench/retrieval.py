"""Which metric finds other photos of the same scene: mean average precision on holidays_pairs.

python -m bench.retrieval
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path

import numpy as np

from bench.machine import DATA, photos, save
from fxengine import FeatureStore, Index, extract
from fxengine.neighbours.groups import whiten


def average_precision(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Return the mean of the precision at each wanted row, ranked by score (INRIA Holidays' own measure)."""
    ranks = np.flatnonzero(wanted[np.argsort(-scores, kind="stable")])
    return float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))


def mean_average_precision(scores: np.ndarray, groups: np.ndarray, queries: np.ndarray) -> tuple[float, float]:
    """Return the mean over the queries, each left out of its own answer, and its 95% interval's half width."""
    found = []
    for query in np.flatnonzero(queries):
        others = np.arange(len(groups)) != query
        found.append(average_precision(scores[query, others], groups[others] == groups[query]))
    return float(np.mean(found)), 1.96 * float(np.std(found, ddof=1)) / len(found) ** 0.5


def whitened_from(train: np.ndarray, vectors: np.ndarray, dim: int) -> np.ndarray:
    """Return unit vectors on the first `dim` principal components of `train`, each at variance 1."""
    unit, of = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (vectors, train))
    values, axes = np.linalg.eigh(np.cov(of, rowvar=False))
    first = axes[:, ::-1][:, :dim] / np.sqrt(values[::-1][:dim])
    out: np.ndarray = (unit - of.mean(axis=0)) @ first
    return out


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with (DATA / "holidays_pairs.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["FXENGINE_CACHE"] = str(Path(temporary) / "cache")
        extract(photos("holidays_pairs"), Path(temporary) / "s", device="cpu", dtype="float32")
        extract(photos("imagenet_500"), Path(temporary) / "other", device="cpu", dtype="float32")
        store = FeatureStore.open(Path(temporary) / "s")
        other = FeatureStore.open(Path(temporary) / "other").vectors(dtype="float64")
        vectors, ids = store.vectors(dtype="float64"), store.ids()
        known = np.array([key in rows for key in ids])
        ways = {}
        for metric in ("cosine", "ip", "l2"):
            found, near = Index.exact(store, metric).positions(vectors, len(ids))
            ways[metric] = np.empty_like(near)
            np.put_along_axis(ways[metric], found, near, axis=1)
    spaces = {f"PCA {dim} whitened, of other photos": whitened_from(other, vectors, dim) for dim in (64, 128, 256)}
    spaces |= {f"PCA {dim} whitened, of these photos": whitened_from(vectors, vectors, dim) for dim in (64, 128, 256)}
    spaces["whitened with a ridge, of these photos"] = whiten(vectors).astype(np.float64)
    for name, space in spaces.items():
        unit = space / np.linalg.norm(space, axis=1, keepdims=True)
        ways[f"cosine, {name}"] = unit @ unit.T
    groups = np.array([rows.get(key, {"group": "-1"})["group"] for key in ids])
    queries = np.array([rows.get(key, {"is_query": "0"})["is_query"] == "1" for key in ids])
    result = {}
    for name, scores in ways.items():
        mean, half = mean_average_precision(scores[np.ix_(known, known)], groups[known], queries[known])
        result[name] = {"mean_average_precision": round(mean, 4), "plus_minus": round(half, 4)}
        print(f"{name:<45} {mean:.4f} +- {half:.4f}")
    save("retrieval", {"photos": int(known.sum()), "queries": int(queries[known].sum()), "ways": result})


if __name__ == "__main__":
    main()
