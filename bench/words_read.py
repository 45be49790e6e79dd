"""fxengine as a contender of bench/words.py's `read`: a process that loads no more than word vectors take.

python -m bench.words_read FILE WORDS VECTORS   reads a file of vectors; writes those of the words, .json -> .npy
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np

from bench.words_peer import measured
from fxengine import WordVectors


def main() -> None:
    """Open the file, look the words up, and answer with what that took."""
    file, words, vectors = sys.argv[1:]

    def read(wanted: list[str]) -> tuple[int, np.ndarray]:
        found = WordVectors.open(file)
        return len(found), np.stack([found[word] for word in wanted])

    measured(read, words, vectors, {name: version(name) for name in ("numpy", "pyarrow")})


if __name__ == "__main__":
    main()
