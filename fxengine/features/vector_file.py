"""Raw vectors in a .npy file, as another program made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fxengine.errors import InputError


def read_vectors(path: Path, dim: int) -> np.ndarray:
    """Return the vectors in a .npy file, float32 or float64 [n, dim]; raises InputError where it holds none."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no .npy file of numbers ({error}).") from error
    vectors = np.atleast_2d(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != dim or vectors.dtype.kind != "f" or not len(vectors):
        raise InputError(
            f"{path} holds {vectors.dtype} {list(vectors.shape)}; a query must be floating-point [n, {dim}]."
        )
    if not np.isfinite(vectors).all():
        raise InputError(f"{path} holds a value that is not a finite number.")
    # What float32 cannot hold, the metric scales first.
    return vectors if vectors.dtype == np.float64 else vectors.astype(np.float32)
