"""Back-test of `fxengine advise`: from half of the labels, is the accuracy with all inside the stated interval?

python -m bench.advise [--splits 10]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.machine import photos, save
from fxengine.features.read import FeatureStore
from fxengine.pipeline.extract import extract
from fxengine.train.advise import backtest

_SETS = ("flowers_300", "caltech_20", "cats_dogs")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=10, help="in all, over three sets")
    splits = parser.parse_args().splits
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for name in _SETS:
            extract(photos(name), Path(folder) / name, dtype="float32")
            stores[name] = FeatureStore.open(Path(folder) / name)
        for seed in range(splits):
            name = _SETS[seed % len(_SETS)]
            expected, observed = backtest(stores[name], seed)
            inside = expected.low <= observed <= expected.high
            rows.append(
                {"set": name, "seed": seed, "expected": asdict(expected), "observed": observed, "inside": inside}
            )
            print(f"{name:<12} seed {seed}: expected {expected}, observed {observed:.1%}, inside: {inside}", flush=True)
    share = sum(row["inside"] for row in rows)
    print(f"{share} of {len(rows)} inside")
    save("advise", {"splits": rows, "inside": share})


if __name__ == "__main__":
    main()
