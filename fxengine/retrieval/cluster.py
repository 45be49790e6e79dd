"""Parts a store into groups of like inputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fxengine.collect.item import unescape_path
from fxengine.collect.memory import demand
from fxengine.errors import InputError, at_least, check_seed, explained
from fxengine.features.blocks import Say
from fxengine.features.table_file import check_suffix, write_table
from fxengine.features.texts import with_texts
from fxengine.neighbours.index import Index
from fxengine.neighbours.kmeans import kmeans, training_rows


@dataclass(frozen=True)
class Cluster:
    """One cluster.

    Attributes:
        number: from 0, the largest first.
        rows: how many it has.
        medoid: id of the row that is nearest to all others in it.
        spread: mean cosine distance of its rows to its centre.
        label: the most frequent label, or None.
        share: of the rows, that have it.
    """

    number: int
    rows: int
    medoid: str
    spread: float
    label: str | None
    share: float


@dataclass(frozen=True)
class ClusterReport:
    """The clusters of a store.

    Attributes:
        clusters: the largest first.
        table: a row for every vector: id, label, cluster, distance to the centre, medoid.
        root: folder that ids are relative to.
        store: folder of the store.
    """

    clusters: list[Cluster]
    table: pa.Table
    root: str
    store: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the clusters as JSON data; of a store of texts with the beginning of the medoids' `text`, read now."""
        clusters = [asdict(cluster) for cluster in self.clusters]
        return {"root": self.root, "clusters": with_texts(clusters, self.store, "medoid")}


def cluster(
    store: str | Path,
    k: int,
    *,
    output: str | Path | None = None,
    seed: int = 0,
    layer: str | None = None,
    progress: Say | None = None,
) -> ClusterReport:
    """Part the rows of a store into k clusters, by k-means over unit vectors.

    Args:
        store: folder of a feature store.
        k: clusters.
        output: a .parquet, .csv or .json file to write the table to.
        seed: of the first centres.
        layer: a further layer's name; the default one unless given.
        progress: called with a sentence every few seconds.

    Raises:
        InputError: k is not between 1 and the number of rows, or `output` cannot be written.
        StoreError: the store has no vector or no such layer, or there is not enough memory for so many clusters.
    """
    if output is not None:
        check_suffix(output)
    at_least("k", k, 1)
    check_seed(seed)
    index = Index.exact(store, layer=layer)
    if k > len(index):
        raise InputError(f"`k` must be between 1 and {len(index)}, the rows of {store} that have a vector. Got {k}.")
    dim = index.store.provenance.dim_of(layer)
    needed = 4 * dim * (training_rows(len(index), dim, k) + 4 * k)
    demand(needed, f"Parting {store} into {k} clusters", "Free memory, or ask for a smaller `k`.")
    index.copy(progress)
    with explained(f"{store} cannot be parted into {k} clusters", "Free memory, or ask for fewer."):
        assigned, near = kmeans(index.matrix, k, seed, progress)
    ids, labels = index.table["id"], index.table["label"].to_pylist()
    medoids = np.zeros(len(near), bool)
    clusters = []
    for number in range(k):
        rows = np.flatnonzero(assigned == number)
        if not len(rows):
            continue
        medoid = rows[np.argmax(near[rows])]
        medoids[medoid] = True
        label, count = Counter(labels[i] for i in rows).most_common(1)[0]
        spread = float(1 - near[rows].mean())
        clusters.append(Cluster(number, len(rows), ids[int(medoid)].as_py(), spread, label, count / len(rows)))
    table = pa.table(
        {
            "id": ids,
            "label": index.table["label"],
            "cluster": pa.array(assigned),
            "distance": pa.array(1 - near),
            "medoid": pa.array(medoids),
        }
    )
    if output is not None:
        write_table(table, output)
    return ClusterReport(clusters, table, unescape_path(index.store.provenance.root), str(store))
