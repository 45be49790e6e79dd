from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform

from fxengine.train.children import changes


def checks_child_path() -> Path:
    return Path(__file__).with_name("checks_child.py")


def changed_by_scipy(pictures: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return pictures, [n, height, width, 3], with all changes of theirs, resampled by scipy."""
    wanted = changes.changes(changes.NAMES, numbers, (pictures.shape[1], pictures.shape[2]))
    assert wanted.maps is not None
    assert wanted.contrast is not None
    assert wanted.brightness is not None
    assert wanted.grey is not None
    found = []
    for i, picture in enumerate(pictures):
        a, b, c, d, e, f = wanted.maps[i].astype(float)
        back = {"matrix": [[e, d], [b, a]], "offset": [f, c], "order": 1, "mode": "reflect"}
        moved = np.stack([affine_transform(picture[..., colour], **back) for colour in range(3)], axis=-1)
        mean = moved.mean(axis=(0, 1))
        moved = (moved - mean) * wanted.contrast[i] + mean + wanted.brightness[i]
        if wanted.grey[i]:
            moved = np.repeat(moved @ np.array(changes.LUMA)[:, None], 3, axis=-1)
        found.append(moved.clip(0, 255))
    return np.stack(found)
