"""What a store holds, as one hash: an index or a cached result says by it which state of the store it belongs to."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from fxengine.features.read import FeatureStore


def store_fingerprint(store: FeatureStore) -> str:
    """Return the SHA-256 of the sorted (row, content_hash, error_code) of every row, with space and type; of a
    selection, of the whole store.

    A renamed or relabelled row changes nothing; a new, changed or removed one does.
    """
    rows = store.whole.rows(["row", "content_hash", "error_code"])
    rows = rows.take(pc.sort_indices(rows, [("row", "ascending")]))
    digest = hashlib.sha256(f"{store.provenance.space} {store.provenance.dtype}\n".encode())
    for batch in rows.to_batches(max_chunksize=65_536):
        row, content, code = batch.columns
        line = (row.cast(pa.string()), pc.fill_null(content, ""), pc.fill_null(code, ""), "\n", " ")
        lines = pc.binary_join_element_wise(*line)  # the last is what they are joined by
        digest.update(lines.buffers()[2][: pc.sum(pc.binary_length(lines)).as_py()])
    return digest.hexdigest()
