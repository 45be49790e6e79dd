"""Makes a FAISS index: trains it on a sample, then adds vectors batch by batch."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

import faiss
import numpy as np

from fxengine.errors import InputError
from fxengine.facts import FactsError
from fxengine.neighbours.faiss_file import look
from fxengine.neighbours.faiss_index import FaissIndex, faiss_reason
from fxengine.neighbours.metric import faiss_metric, findable, prepare
from fxengine.neighbours.parameters import search_parameters


def train(factory: str, metric: str, sample: np.ndarray) -> FaissIndex:
    """Return an empty index that was trained on `sample`, [n, dim] raw vectors; FAISS's own seeds make it repeatable.

    Raises:
        InputError: FAISS does not know such an index, or the sample is too small or its dim does not suit it.
    """
    dim = sample.shape[1]
    if re.search(r"(HNSW|NSG)0*[01](?!\d)", factory):  # FAISS divides by it or its logarithm: the process ends
        raise InputError(f"FAISS cannot make {factory!r}: a graph of fewer than two links a vector.")
    try:
        index: FaissIndex = faiss.index_factory(dim, factory, faiss_metric(metric))
        index.train(prepare(sample, metric))
    except (RuntimeError, AssertionError, MemoryError) as error:
        raise InputError(
            f"FAISS cannot make {factory!r} of {len(sample)} vectors of {dim} numbers: {faiss_reason(error)}."
        ) from error
    return index


def try_out(index: FaissIndex, factory: str, metric: str, sample: np.ndarray) -> None:
    """Add a vector to a trained index and ask for it behind a filter, as every index is asked here; empty it again.

    Args:
        index: trained and empty.
        factory: FAISS's name of it.
        metric: "cosine", "ip" or "l2".
        sample: [n, dim] raw vectors.

    Raises:
        InputError: the index has no such filter, takes no vectors as they are, or would not be read back.
    """
    try:
        index.add(prepare(sample[:1], metric))
        selector = faiss.IDSelectorBitmap(np.asarray([1], np.uint8))
        index.search(prepare(sample[:1], metric), 1, params=search_parameters(index, {}, selector))
        index.reset()
        with io.BytesIO(faiss.serialize_index(index)) as written:
            look(written, sample.shape[1], 0, faiss_metric(metric))
    except (RuntimeError, FactsError, AssertionError, MemoryError) as error:
        raise InputError(
            f"FAISS's index {factory!r} does not serve here, where vectors have no ids and searches a filter by rows: "
            f"{faiss_reason(error)}. Flat, IVF, HNSW and SQ do, also behind a PCA or before a Refine."
        ) from error


def add(index: FaissIndex, blocks: Iterable[np.ndarray], metric: str) -> np.ndarray:
    """Add raw vectors, blocks of [n, dim], to an index, which numbers them in the order in which they come.

    Returns:
        bool [n], which of them were added: those that can be found.
    """
    added = [np.empty(0, bool)]
    for block in blocks:
        added.append(findable(block, metric))
        index.add(prepare(block[added[-1]], metric))
    return np.concatenate(added)
