"""Photos of any size out of larger ones, on which an export is compared with its framework.

The programs load this file by its path: it imports numpy alone.
"""

from __future__ import annotations

import numpy as np


def crops(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return six uint8 photos of any size: the images whole and two quarters of each, by nearest neighbour."""
    rows, columns = images.shape[1:3]
    parts = [(0, 0, rows, columns), (0, 0, rows // 2, columns // 2), (rows // 2, columns // 2, rows, columns)]
    found = []
    for image in images:
        for top, left, bottom, right in parts:
            y = np.linspace(top, bottom - 1, height).round().astype(int)
            x = np.linspace(left, right - 1, width).round().astype(int)
            found.append(image[y[:, None], x])
    return np.stack(found)
