"""Makes a FAISS index: trains it on a sample, then adds vectors batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np

from fxengine.errors import InputError
from fxengine.index.metric import faiss_metric, findable, prepare


def train(factory: str, metric: str, sample: np.ndarray) -> Any:
    """Return an empty index that was trained on `sample`, [n, dim] raw vectors; FAISS's own seeds make it repeatable.

    Raises:
        InputError: FAISS does not know such an index, or the sample is too small or its dim does not suit it.
    """
    dim = sample.shape[1]
    try:
        index = faiss.index_factory(dim, factory, faiss_metric(metric))
        index.train(prepare(sample, metric))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[-1][-200:]
        raise InputError(
            f"FAISS cannot make {factory!r} of {len(sample)} vectors of {dim} numbers: {reason}"
        ) from error
    return index


def add(index: Any, blocks: Iterable[np.ndarray], metric: str) -> np.ndarray:
    """Add raw vectors to an index, which numbers them in the order in which they come.

    Returns:
        bool [n], which of them were added: those that can be found.
    """
    added = [np.empty(0, bool)]
    for block in blocks:
        added.append(findable(block, metric))
        index.add(prepare(block[added[-1]], metric))
    return np.concatenate(added)
