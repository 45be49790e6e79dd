"""Writes a store's rows for other programs: one .npy, .csv or .parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.features.schema import FeatureTable
from fxengine.features.unit import unit_length
from fxengine.files import replacing

_SUFFIXES = (".npy", ".csv", ".parquet")


@dataclass(frozen=True)
class Dumped:
    """What was written.

    Attributes:
        files: the file that was asked for, and of a .npy the table of its rows.
        rows: how many rows they hold.
    """

    files: tuple[Path, ...]
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"files": [str(path) for path in self.files], "rows": self.rows}


def dump(store: str | Path, output: str | Path, *, normalize: bool = False, layer: str | None = None) -> Dumped:
    """Write the rows that have a vector.

    `.npy`: float32 [n, dim], and beside it `NAME.ids.csv` (row, id, label, split) in the same order: what autofaiss
    and embedding readers take. `.parquet`: id, label, split and `embedding` as a list of float32, one file: what
    autofaiss (`--embedding_column_name embedding`) and embedding-atlas (`--vector embedding`) take. `.csv`: id, label,
    split and a column for each number. Rows come part by part, so that memory stays that of one part.

    Args:
        store: folder of a feature store.
        output: the file to make; its suffix chooses the layout.
        normalize: whether to scale every vector to length 1.
        layer: a further layer's name; the default one unless given.

    Raises:
        InputError: the suffix is none of these, or the file cannot be written.
        StoreError: the store is damaged.
    """
    output = Path(output)
    suffix = output.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"`output` {output} must end in {', '.join(_SUFFIXES)}.")
    opened = FeatureStore.open(store)
    try:
        with replacing(output) as temporary:
            made = {".npy": _npy, ".csv": _csv, ".parquet": _parquet}[suffix](opened, temporary, normalize, layer)
        if made is None:
            return Dumped((output,), len(opened.ids()))
        beside = output.with_suffix(".ids.csv")
        with replacing(beside) as temporary:
            pa.csv.write_csv(made, temporary)
        return Dumped((output, beside), len(opened.ids()))
    except OSError as error:
        raise InputError(f"Cannot write {output}: {error.strerror or error}.") from error


def _dim(store: FeatureStore, layer: str | None) -> int:
    return store.provenance.dim_of(layer)


def _vectors(table: FeatureTable, normalize: bool) -> np.ndarray:
    vectors = table.vectors.astype(np.float32)
    if normalize:
        unit_length(vectors, out=vectors)
    return vectors


def _names(table: FeatureTable) -> pa.Table:
    return pa.table(
        {
            "row": pa.array(table.rows),
            "id": pa.array(table.keys, pa.string()),
            "label": pa.array(table.labels, pa.string()),
            "split": pa.array(table.splits, pa.string()),
        }
    )


def _npy(store: FeatureStore, path: Path, normalize: bool, layer: str | None) -> pa.Table:
    shape = (len(store.ids()), _dim(store, layer))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        names = []
        for table in store.batches(layer=layer):
            file.write(_vectors(table, normalize).astype("<f4").tobytes())
            names.append(_names(table))
    return pa.concat_tables(names)


def _parquet(store: FeatureStore, path: Path, normalize: bool, layer: str | None) -> None:
    schema = pa.schema([*_names_schema(), ("embedding", pa.list_(pa.float32()))])
    with pq.ParquetWriter(path, schema, use_dictionary=["label", "split"]) as writer:
        for table in store.batches(layer=layer):
            vectors = _vectors(table, normalize)
            offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
            column = pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))
            writer.write_table(_names(table).append_column("embedding", column).cast(schema))


def _csv(store: FeatureStore, path: Path, normalize: bool, layer: str | None) -> None:
    numbers = [f"f{i}" for i in range(_dim(store, layer))]
    schema = pa.schema([*_names_schema(), *((name, pa.float32()) for name in numbers)])
    with pa.csv.CSVWriter(path, schema) as writer:
        for table in store.batches(layer=layer):
            named, vectors = _names(table), _vectors(table, normalize)
            columns = [*named.columns, *(pa.array(np.ascontiguousarray(column)) for column in vectors.T)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _names_schema() -> list[tuple[str, pa.DataType]]:
    return [("row", pa.int64()), ("id", pa.string()), ("label", pa.string()), ("split", pa.string())]
