"""Two hashes of all pictures of a folder, for bench/duplicates.py, run by the Python that has them.

python hash_peer.py FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def phash(path: Path) -> list[int]:
    """Return the 64 bits of ImageHash's phash, which imagededup's PHash is, too."""
    import imagehash

    return [int(bit) for bit in imagehash.phash(Image.open(path)).hash.ravel()]


def pdq(path: Path) -> list[int]:
    """Return the 256 bits of PDQ."""
    import pdqhash

    return [int(bit) for bit in pdqhash.compute(np.asarray(Image.open(path).convert("RGB")))[0]]


def main() -> None:
    """Print name -> bits of each file and seconds, as JSON."""
    folder = Path(sys.argv[1])
    paths = sorted(path for path in folder.rglob("*.*") if path.is_file())
    ways: dict[str, Callable[[Path], list[int]]] = {"PHash": phash, "PDQ": pdq}
    answers: dict[str, Any] = {}
    for name, way in ways.items():
        way(paths[0])
        start = time.perf_counter()
        bits = {path.relative_to(folder).as_posix(): way(path) for path in paths}
        answers[name] = {"bits": bits, "seconds": time.perf_counter() - start}
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
