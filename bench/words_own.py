"""fxengine as a contender of bench/words.py: a process of its own that takes the same orders as the peers.

python -m bench.words_own BACKBONE

It answers each order with seconds: "store TABLE" of the pipeline of an extraction into a store, to the last row
written; "call TABLE" of that whole call, the net loaded, too, when it was last done; "embed TABLE" of `Backbone.embed`;
"alone TABLE" of tokenizing and the net alone; "tokenize TABLE" and "net TABLE" of its parts. "vectors TABLE FILE" is as
"embed" and "stored TABLE FILE" as "store", and both write what they made.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from bench.words_peer import read
from bench.words_sets import TEXT
from fxengine import Backbone, FeatureStore, extract
from fxengine.backbones import load_backbone
from fxengine.backbones.spec import FEATURE_OUTPUT
from fxengine.collect import TextColumns, collect
from fxengine.decode import preparer_of
from fxengine.features.schema import Dtype
from fxengine.pipeline.precision import Wish, open_chosen
from fxengine.pipeline.threads import run_on_streams


class Contender:
    """Embeds tables by one backbone, and remembers what the last one took.

    Attributes:
        seconds: order -> what it took when it was last done.
    """

    def __init__(self, backbone: str) -> None:
        self.seconds: dict[str, float] = {}
        self._backbone = backbone
        self._net = cache(lambda: Backbone.load(backbone, device="cpu"))

    def store(self, table: str, vectors: str | None = None) -> float:
        """Extract a table into a new store; write its vectors where that is asked for, then stored as float32."""
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "s"
            dtype: Dtype = "float16" if vectors is None else "float32"
            begin = time.perf_counter()
            summary = extract(
                table, store, backbone=self._backbone, column=TEXT, precision="fp32", device="cpu", dtype=dtype
            )
            self.seconds["call"] = time.perf_counter() - begin
            assert summary.extracted == len(read(table)), summary
            if vectors is not None:
                np.save(vectors, FeatureStore.open(store).vectors())
            return summary.compute_seconds

    def embed(self, table: str, vectors: str | None = None) -> float:
        """Embed the texts of a table in memory."""
        texts, net = read(table), self._net()
        begin = time.perf_counter()
        found = net.embed(texts)
        seconds = time.perf_counter() - begin
        if vectors is not None:
            np.save(vectors, found)
        return seconds

    def alone(self, table: str) -> float:
        """Tokenize all texts of a table, then run the net over them; each as an extraction does, on as many threads."""
        texts = [text.encode() for text in read(table)]
        found = load_backbone(self._backbone)
        preparer = preparer_of(found)
        session, _ = open_chosen(
            found, collect(table, modality="text", columns=TextColumns(text=TEXT)), len(texts), Wish("fp32", "cpu")
        )
        begin = time.perf_counter()
        room = preparer.room(len(texts))
        step = preparer.window(session.batch_size).together
        with ThreadPoolExecutor(session.streams) as pool:
            list(
                pool.map(
                    lambda i: preparer.fill_together(texts[i : i + step], room, range(i, min(i + step, len(texts)))),
                    range(0, len(texts), step),
                )
            )
        tokenized = time.perf_counter()
        run_on_streams(session, room, FEATURE_OUTPUT)
        end = time.perf_counter()
        self.seconds |= {"tokenize": tokenized - begin, "net": end - tokenized}
        return end - begin


def main() -> None:
    """Obey."""
    contender = Contender(sys.argv[1])
    orders = {
        "store": contender.store,
        "stored": contender.store,
        "embed": contender.embed,
        "vectors": contender.embed,
        "alone": contender.alone,
    }
    print("> {}", flush=True)
    for line in sys.stdin:
        command, table, *file = line.split()
        seconds = orders[command](table, *file) if command in orders else contender.seconds[command]
        print(f"> {seconds}", flush=True)


if __name__ == "__main__":
    main()
