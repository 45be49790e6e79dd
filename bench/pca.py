"""PCA from streamed statistics against scikit-learn's IncrementalPCA, both from Parquet, in turns.

python -m bench.pca [--rows 200000] [--rounds 3] [--dim 256]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.hard_store import in_a_process, timed, write_store
from bench.machine import interleave, save
from fxengine.features.read import FeatureStore


def ours(store: Path, dim: int) -> dict[str, Any]:
    """Fit from one pass."""
    from fxengine.reduce.fit import fit_pca

    return {"explained": float(fit_pca(FeatureStore.open(store), dim=dim)[0].facts.explained_variance_ratio.sum())}


def theirs(store: Path, dim: int) -> dict[str, Any]:
    """Fit part by part."""
    from sklearn.decomposition import IncrementalPCA

    model = IncrementalPCA(dim)
    for table in FeatureStore.open(store).batches(8192):
        if len(table.rows) > dim:
            model.partial_fit(table.vectors.astype(np.float32))
    return {"explained": float(model.explained_variance_ratio_.sum())}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--run", choices=["fxengine", "IncrementalPCA"])
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    if options.run:
        work = ours if options.run == "fxengine" else theirs
        timed(lambda: work(options.store, options.dim))
        return
    last: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        store = write_store(Path(temporary) / "s", options.rows, 1)

        def rate(name: str) -> float:
            found = in_a_process("bench.pca", "--run", name, "--store", store, "--dim", options.dim)
            assert found is not None
            last[name] = found
            print(name, found, flush=True)
            return float(options.rows / found["seconds"])

        names = ("fxengine", "IncrementalPCA")
        rates = interleave({name: lambda name=name: rate(name) for name in names}, options.rounds)  # type: ignore[misc]
    ratio = {key: round(rates["fxengine"][key] / rates["IncrementalPCA"][key], 2) for key in ("best", "median")}
    print(rates, ratio)
    save("pca", {"rows": options.rows, "dim": options.dim, "rows_per_second": rates, "ratio": ratio, "last": last})


if __name__ == "__main__":
    main()
