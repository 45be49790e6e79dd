"""Reduces a store's vectors to their principal components, from one pass over them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fxengine.backbones import load_backbone, source_name
from fxengine.backbones.pca_facts import PcaFacts
from fxengine.errors import InputError, StoreError, above_zero, at_least, path_of
from fxengine.features import parts
from fxengine.features.blocks import Say, store_blocks, store_rows, told
from fxengine.features.moments import collect, principal_components
from fxengine.features.read import FeatureStore
from fxengine.features.schema import FEATURE, Provenance, is_vector_column, part_schema
from fxengine.features.write import bad_feature, to_store_type
from fxengine.files import replacing_folder
from fxengine.reduce.pca import Pca, components_for


@dataclass(frozen=True)
class PcaReport:
    """What a reduction keeps.

    Attributes:
        pca: the transform.
        variances: along every component of the vectors, not only those kept, float64 [dim].
        path: file of the transform, or None.
        space: fingerprint of the reduced space, or None where no store was written.
        store: folder of the reduced store, or None.
        failed: rows that have a vector there, and none in the reduced store, whose numbers cannot hold it.
    """

    pca: Pca
    variances: np.ndarray
    path: str | None = None
    space: str | None = None
    store: str | None = None
    failed: int = 0

    @property
    def table(self) -> pa.Table:
        """Rows of some sizes: components, the share of the variance that they explain, variance of the last of them."""
        shares = np.cumsum(self.variances) / self.variances.sum()
        sizes = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, len(self.pca.components)}
        most = min(len(shares), self.pca.facts.rows - 1)
        kept = [k for k in sorted(sizes) if k <= most]
        last = np.array(kept, int) - 1
        return pa.table({"components": kept, "explained": shares[last], "variance": self.variances[last]})

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        facts = self.pca.facts
        return {
            "components": len(self.pca.components),
            "dim": self.pca.components.shape[1],
            "rows": facts.rows,
            "whiten": facts.whiten,
            "explained": float(facts.explained_variance_ratio.sum()),
            "explained_variance": list(facts.explained_variance),
            "total_variance": facts.total_variance,
            "path": self.path,
            "space": self.space,
            "store": self.store,
            "failed": self.failed,
        }


def fit_pca(
    store: FeatureStore,
    *,
    dim: int | None = None,
    variance: float | None = None,
    whiten: bool = False,
    layer: str | None = None,
    progress: Say | None = None,
) -> tuple[Pca, np.ndarray]:
    """Return the transform of a store's raw vectors, and the variances along all components, float64 [dim].

    Args:
        store: an open store.
        dim: components to keep.
        variance: instead, keep as many as explain this share of the variance.
        whiten: divide each component by its standard deviation.
        layer: a further layer's name; the default one unless given.
        progress: called with a sentence every few seconds.

    Raises:
        InputError: neither or both of `dim` and `variance` are given, or they are out of range.
        StoreError: there are fewer than two vectors, or all are the same.
    """
    if (dim is None) == (variance is None):
        raise InputError("Give either `dim` or `variance`.")
    if variance is not None:
        above_zero("variance", variance, 1)
    if dim is not None:
        at_least("dim", dim, 1)
    rows = np.asarray(store_rows(store)["row"])
    width = store.provenance.dim_of(layer)
    most = min(width, len(rows) - 1)
    if most < 1:
        raise StoreError(f"{store.called} has {len(rows)} vectors; principal components need at least two.")
    if dim is not None and dim > most:
        raise InputError(f"`dim` must be between 1 and {most} ({len(rows)} vectors of {width} numbers). Got {dim}.")
    blocks = told(store_blocks(store, rows, layer=layer), len(rows), "PCA", progress)
    moments = collect(blocks).without(None).centred()
    variances, components = principal_components(moments.scatter, len(rows))
    if not variances.sum() > 0:
        raise StoreError(f"All vectors of {store.called} are the same: there is no variance to explain.")
    k = dim if dim is not None else min(components_for(variances, variance or 1.0), most)
    facts = PcaFacts(
        space=store.provenance.space,
        source=store.provenance.source,
        layer=layer,
        rows=len(rows),
        whiten=whiten,
        explained_variance=tuple(variances[:k].tolist()),
        total_variance=float(variances.sum()),
    )
    scale = np.sqrt(np.maximum(variances[:k], np.finfo(np.float32).tiny))[:, None] if whiten else 1.0
    return Pca(moments.mean, components[:k] / scale, facts), variances


def pca(
    store: str | Path,
    output: str | Path,
    *,
    dim: int | None = None,
    variance: float | None = None,
    whiten: bool = False,
    layer: str | None = None,
    reduced: str | Path | None = None,
    progress: Say | None = None,
) -> PcaReport:
    """Fit a transform, write it to `output`, and with `reduced` write a store of the reduced vectors.

    The reduced store's space is that of the backbone `pca:OUTPUT`, the store's own backbone with the transform behind
    it: searches, predictions and updates of the reduced store use that one.

    Args:
        store: folder of a feature store.
        output: the .onnx file to make.
        dim: components to keep.
        variance: instead, keep as many as explain this share of the variance.
        whiten: scale every component to unit variance.
        layer: a further layer's name; the default one unless given.
        reduced: folder of the store to make, new or empty; a row whose reduced vector its numbers cannot hold is one
            without, with the reason.
        progress: called with a sentence every few seconds.

    Raises:
        InputError: see `fit_pca`; the backbone of the store's space is not to be had (only with `reduced`), or the
            folder `reduced` is not empty.
        StoreError: see `fit_pca`.
    """
    output, reduced = path_of("output", output), None if reduced is None else path_of("reduced", reduced)
    if output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    if reduced is not None and reduced.exists() and any(reduced.iterdir()):
        raise InputError(f"`reduced` {reduced} is not empty: give a new folder.")
    opened = FeatureStore.open(store)
    made, variances = fit_pca(opened, dim=dim, variance=variance, whiten=whiten, layer=layer, progress=progress)
    made.save(output)
    if reduced is None:
        return PcaReport(made, variances, str(output))
    source = source_name(f"pca:{output}")
    space = load_backbone(source).fingerprint
    _write_reduced(opened, made, replace(opened.provenance, space=space, source=source), reduced)
    failed = len(opened.ids()) - len(FeatureStore.open(reduced).ids())
    return PcaReport(made, variances, str(output), space, str(reduced), failed)


def _write_reduced(store: FeatureStore, transform: Pca, provenance: Provenance, folder: Path) -> None:
    """Write a copy of every part with the reduced vectors in place of the old ones; all parts or none."""
    provenance = replace(provenance, dim=len(transform.components), layers={})
    column = store.provenance.column(transform.facts.layer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing_folder(folder) as temporary:
            for path in parts.list_parts(store.path):
                table = _reduced_part(parts.read_part(path), column, transform, provenance)
                parts.write_part(table, temporary / path.name)
            if folder.exists():
                folder.rmdir()  # refused where something was put into it in the meantime
    except OSError as error:
        raise InputError(f"Cannot write the store {folder}: {error.strerror or error}.") from error


def _reduced_part(table: pa.Table, column: str, transform: Pca, provenance: Provenance) -> pa.Table:
    own = Provenance.from_schema(table.schema, "a part")
    schema = part_schema(replace(provenance, next_row=own.next_row, precision=own.precision, groups=own.groups))
    chunks = [parts.vector_matrix(chunk, own.columns[column]) for chunk in table[column].chunks]
    missing = np.asarray(table["error_code"].is_valid())
    vectors = transform.transform(np.concatenate(chunks) if chunks else np.empty((0, own.columns[column])))
    stored, bad = to_store_type({FEATURE: vectors}, provenance.dtype)
    columns = {name: table[name] for name in schema.names if not is_vector_column(name)}
    bad &= ~missing
    if bad.any():
        reasons = {row: bad_feature(vectors[row], provenance.dtype) for row in np.flatnonzero(bad).tolist()}
        for name, values in (("error_code", dict.fromkeys(reasons, "bad_feature")), ("error", reasons)):
            cells = table[name].to_pylist()
            columns[name] = pa.array([values.get(row, cell) for row, cell in enumerate(cells)], schema.field(name).type)
    columns[FEATURE] = parts.vector_array(stored[FEATURE], missing | bad, schema.field(FEATURE).type)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
