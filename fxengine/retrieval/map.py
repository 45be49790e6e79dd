"""Lays a store out on a plane, with each row's neighbours and how far from all others it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fxengine.collect.memory import demand
from fxengine.errors import InputError, StoreError, at_least, explained, one_of, reason
from fxengine.features.blocks import Say, counted, matrix_blocks
from fxengine.features.moments import collect, principal_components
from fxengine.features.read import FeatureStore
from fxengine.features.table_file import check_suffix, write_table
from fxengine.features.texts import with_texts
from fxengine.neighbours.all_rows import nearest_of_all
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.groups import ALL_PAIRS
from fxengine.neighbours.index import Index, open_index
from fxengine.neighbours.metric import prepare

METHODS = ("pca", "umap")
_ASKED = 4096  # rows at a time
_SAMPLE = 50_000  # rows to learn the principal components from


@dataclass(frozen=True)
class MapReport:
    """A map.

    Attributes:
        table: id, label, split, x, y, neighbors (ids: positions in this table from 0, distances: cosine distance) and
            outlier (distance of the last of these neighbours), in the store's order.
        method: "pca" or "umap".
        explained: share of the variance that x and y hold by PCA, or None.
        store: folder of the store.
    """

    table: pa.Table
    method: str
    explained: float | None
    store: str = ""

    def outliers(self, count: int) -> list[dict[str, Any]]:
        """Return id, label and outlier score of the rows that are farthest from all others.

        Of a store of texts with the beginning of each row's `text`, read now.
        """
        columns = self.table.select(["id", "label", "outlier"])
        found: list[dict[str, Any]] = columns.sort_by([("outlier", "descending")]).slice(0, count).to_pylist()
        return with_texts(found, self.store)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data, without the table."""
        return {
            "rows": len(self.table),
            "method": self.method,
            "explained": self.explained,
            "outliers": self.outliers(10),
        }


def map(
    store: str | Path,
    *,
    output: str | Path | None = None,
    method: str = "pca",
    k: int = 10,
    layer: str | None = None,
    progress: Say | None = None,
) -> MapReport:
    """Return places on a plane, neighbours and outlier scores of every row that has a vector.

    The outlier score is the distance to the k-th neighbour (Ramaswamy, Rastogi and Shim 2000, "Efficient algorithms for
    mining outliers from large data sets").

    Args:
        store: folder of a feature store.
        output: a .parquet or .json file to write the table to.
        method: "pca", or "umap" where umap-learn is installed.
        k: neighbours of each row; fewer where there are fewer rows.
        layer: a further layer's name; the default one unless given.
        progress: called with a sentence at every long step.

    Raises:
        InputError: there is no such method, it is not installed, or `output` cannot be written.
        StoreError: the store has no vector or no such layer.
    """
    if output is not None:
        check_suffix(output, (".parquet", ".json"))
    one_of("method", method, METHODS)
    at_least("k", k, 1)
    index = _index(FeatureStore.open(store), layer, progress)
    with explained(f"{store} cannot be laid out", "Free memory."):
        places, share = plane(index.matrix, method)
        found, distances = _neighbours(index, min(k, len(index) - 1), progress)
    columns = {
        **{name: index.table[name] for name in ("id", "label", "split")},
        "x": pa.array(places[:, 0]),
        "y": pa.array(places[:, 1]),
        "neighbors": pa.StructArray.from_arrays([_lists(found), _lists(distances)], ["ids", "distances"]),
        "outlier": pa.array(_farthest(distances)),
    }
    table = pa.table(columns)
    if output is not None:
        write_table(table, output)
    return MapReport(table, method, share, str(store))


def plane(vectors: np.ndarray, method: str) -> tuple[np.ndarray, float | None]:
    """Return where raw vectors, [n, dim], lie on a plane, float32 [n, 2], by PCA with its share of the variance.

    Raises:
        InputError: there is no such method, or it is not installed.
        StoreError: UMAP cannot lay them out.
    """
    one_of("method", method, METHODS)
    return _pca(vectors) if method == "pca" else (_umap(vectors), None)


def outlier_scores(store: FeatureStore, k: int, layer: str | None = None) -> np.ndarray:
    """Return how far from all others every row is that has a vector, float32 [n], in the store's order, as `map` does.

    Raises StoreError as `map` does.
    """
    index = _index(store, layer, None)
    with explained(f"The outliers of {store.called} cannot be found", "Free memory."):
        return _farthest(_neighbours(index, min(k, len(index) - 1))[1])


def _farthest(distances: np.ndarray) -> np.ndarray:
    """Return the distance to the last neighbour of each row, of those of all neighbours, float32 [n, k]."""
    return distances[:, -1] if distances.shape[1] else np.zeros(len(distances), np.float32)


def _index(store: FeatureStore, layer: str | None, progress: Say | None) -> Index:
    """Return what finds the neighbours: the store's own index or exact search."""
    found = open_index(store, layer)
    if found is None or not found.fresh or found.metric != "cosine":
        found = Index.exact(store, layer=layer)
    found.copy(progress)
    return found


def _neighbours(index: Index, k: int, progress: Say | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return positions, int64 [n, k], and cosine distances, float32 [n, k], of every row's neighbours but itself."""
    if index.facts is None and len(index) > ALL_PAIRS:
        found, cosines, _ = nearest_of_all(index.matrix, k, progress)
        return found, np.maximum(1 - cosines, 0)
    found, distances = np.empty((len(index), k), np.int64), np.empty((len(index), k), np.float32)
    step = counted("neighbours found", len(index), progress)
    for start in range(0, len(index), _ASKED):
        step(start)
        rows = np.arange(start, min(start + _ASKED, len(index)))
        near, scores = index.positions(index.matrix[rows], k + 1)
        # A row that is not among its own neighbours, for k others are just as near, gives up the last of them.
        own = near == rows[:, None]
        own[~own.any(axis=1), -1] = True
        found[rows] = near[~own].reshape(len(rows), k)
        distances[rows] = 1 - scores[~own].reshape(len(rows), k)
    return found, np.maximum(distances, 0)


def _pca(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Return unit vectors on their first two principal components, float32 [n, 2], and the share of the variance."""
    chosen = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE]
    moments = collect(matrix_blocks(vectors, np.sort(chosen))).without(None).centred()
    variances, components = principal_components(moments.scatter, len(chosen))
    mean, first = moments.mean.astype(np.float32), components[:2].T
    places = np.concatenate([(prepare(block, "cosine") - mean) @ first for block in in_blocks(vectors)])
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1]))).astype(np.float32)
    return places, float(variances[:2].sum() / max(variances.sum(), 1e-12))


def _umap(vectors: np.ndarray) -> np.ndarray:
    try:
        from umap import UMAP
    except ModuleNotFoundError as error:
        raise InputError(
            "UMAP is not installed: pip install 'fxengine[umap]'. The `method` pca needs nothing."
        ) from error
    except Exception as error:
        raise StoreError(f"UMAP cannot be loaded: {reason(error)}. The `method` pca needs nothing.") from error
    demand(8 * vectors.size, "A map by UMAP", "Free memory; the `method` pca takes little.")
    unit, neighbours = prepare(vectors, "cosine"), min(15, len(vectors) - 1)
    try:
        places = UMAP(metric="cosine", n_neighbors=neighbours, random_state=0, n_jobs=1).fit_transform(unit)
    except Exception as error:  # its own, Numba's or scikit-learn's: they raise what they like
        raise StoreError(f"UMAP cannot lay them out: {reason(error)}. The `method` pca always can.") from error
    return np.asarray(places, np.float32)


def _lists(matrix: np.ndarray) -> pa.Array:
    n, k = matrix.shape
    return pa.ListArray.from_arrays(np.arange(0, n * k + 1, k, dtype=np.int32) if k else np.zeros(n + 1, np.int32),
                                    pa.array(matrix.reshape(-1)))  # fmt: skip
