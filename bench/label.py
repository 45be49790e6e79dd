"""How long a round of labelling takes, and what asking in its order gains over asking at random.

python -m bench.label [--rows N]

A round: N made-up rows of 1280 numbers in float16, in memory as the page holds them; the fit on 60, 1,000 and 3,000 of
20 names and one pass over all rows, and the order. Gain: somebody who answers 60 rows, ten a round, by the page's order
or at random; how many of the other rows the fit then names rightly, mean of five seeds, over real photos.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import photos, save
from fxengine import FeatureStore, extract
from fxengine.reviewing.labelling import Labelling
from fxengine.reviewing.learn import learn
from fxengine.reviewing.order import Nearness, most_different

_DIM, _NAMES = 1280, 20
_LABELLED = (60, 1000, 3000)
_SETS = ("caltech_20", "flowers_300")
_ORDERS = ("random", "doubt", "different")
_SEEDS, _ANSWERS, _ROUNDS = 5, 60, 7


def rounds(rows: int) -> dict[str, Any]:
    """Return the seconds of rounds by how many rows have a label, and of the order by what is most different."""
    rng = np.random.default_rng(0)
    matrix = np.empty((rows, _DIM), np.float16)
    for start in range(0, rows, 5000):
        matrix[start : start + 5000] = np.maximum(rng.standard_normal((min(5000, rows - start), _DIM)), 0)
    found = {}
    for count in _LABELLED:
        places = rng.permutation(rows)[:count]
        labels = [f"name {i % _NAMES}" for i in range(count)]
        found[str(count)] = summary([_round(matrix, places, labels) for _ in range(_ROUNDS)])
    nearness, took = Nearness(matrix), []
    for count in range(60, 60 + 10 * _ROUNDS, 10):
        began = time.perf_counter()
        most_different(matrix, nearness.update(np.arange(count)), np.arange(count, rows), count)
        took.append(time.perf_counter() - began)
    return {"rows": rows, "round": found, "different": summary(took[1:])}


def _round(matrix: np.ndarray, places: np.ndarray, labels: list[str]) -> float:
    began = time.perf_counter()
    learned = learn(matrix, places, labels)
    assert learned is not None
    np.argsort(-learned.doubt)
    return time.perf_counter() - began


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return the best and the median."""
    return {"best": round(min(seconds), 3), "median": round(float(np.median(seconds)), 3)}


def gain(name: str, folder: Path) -> dict[str, float]:
    """Return the share of the other rows of a set that are named rightly after 60 answers, by the order."""
    extract(photos(name), folder / name, device="cpu")
    store = FeatureStore.open(folder / name)
    right = {order: [answered(store, order, seed, folder) for seed in range(_SEEDS)] for order in _ORDERS}
    return {order: round(float(np.mean(shares)), 4) for order, shares in right.items()}


def answered(store: FeatureStore, by: str, seed: int, folder: Path) -> float:
    """Return it for one person; all of a seed begin with the same three rows."""
    x, y = store.vectors(), np.array(store.labels())
    labelling = Labelling(store, np.arange(len(x)), lambda: x, folder / f"{store.path.name}-{by}-{seed}")
    shuffled, done = np.random.default_rng(seed).permutation(len(x)), list[int]()
    while len(done) < _ANSWERS:
        order = shuffled if by == "random" or not done else labelling.order(by)
        chosen = [i for i in order.tolist() if i not in done][: 10 - len(done) % 10 if done else 3]
        for place in chosen:
            labelling.answer([place], str(y[place]))
        done += chosen
        if labelling.is_due:
            labelling.round()
    assert labelling.learned is not None
    rest = np.setdiff1d(np.arange(len(x)), done)
    return float((np.array(labelling.learned.names)[labelling.learned.best] == y)[rest].mean())


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gains = {name: gain(name, Path(folder)) for name in _SETS}
    result = {**rounds(options.rows), "gain": gains}
    print(json.dumps(result, indent=2))
    save("label", result)


if __name__ == "__main__":
    main()
