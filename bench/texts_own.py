"""fxengine as a contender of bench/texts.py: a process of its own that takes the same orders as the peers.

python -m bench.texts_own PRECISION

Beside "embed TABLE" and "vectors TABLE FILE" it knows the parts of the work: "tokenize TABLE" and "net TABLE".
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.extract import on_all_cores
from bench.texts_peer import read
from bench.texts_sets import COLUMN, REVIEWS
from fxengine import FeatureStore, extract
from fxengine.backbones import DEFAULT_OF_TEXTS, load_backbone
from fxengine.backbones.spec import FEATURE_OUTPUT, LENGTHS_INPUT, TOKENS_INPUT
from fxengine.collect import TextColumns, collect
from fxengine.decode import Inputs, Preparer, preparer_of
from fxengine.execute import usable_cores
from fxengine.execute.session import Session
from fxengine.execute.shapes import rows_of_a_run
from fxengine.features.schema import Dtype
from fxengine.pipeline.calibrate import calibrate
from fxengine.pipeline.precision import Wish, open_chosen


def into_a_store(table: str, precision: str, vectors: str | None = None) -> float:
    """Extract a table into a new store; return the seconds of the pipeline, to the last row written, net loaded.

    Args:
        table: a .csv.
        precision: "fp32" or "auto".
        vectors: where to write them, float32 [n, dim], in the order of the table; then they are stored as float32, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "s"
        dtype: Dtype = "float16" if vectors is None else "float32"
        summary = extract(
            table, store, backbone=DEFAULT_OF_TEXTS, column=COLUMN, precision=precision, device="cpu", dtype=dtype
        )
        assert summary.extracted == len(read(table)), summary
        if vectors is not None:
            np.save(vectors, FeatureStore.open(store).vectors())
        return summary.compute_seconds


def tokenised(preparer: Preparer, texts: list[str]) -> Inputs:
    """Return the texts as inputs of the net."""
    room = preparer.room(len(texts))
    for i, text in enumerate(texts):
        preparer.open(text.encode()).fill(room, i)
    return room


def tokenizing(preparer: Preparer, texts: list[str]) -> float:
    """Return the seconds of tokenizing alone, on all cores, as many texts at once as a run takes."""
    step = preparer.window(1).together
    parts = [[text.encode() for text in texts[i : i + step]] for i in range(0, len(texts), step)]

    def one(i: int) -> None:
        preparer.fill_together(parts[i], preparer.room(len(parts[i])), range(len(parts[i])))

    return len(parts) / on_all_cores(len(parts), one, usable_cores())


def runs_without_padding(inputs: Inputs, tokens: int) -> list[Inputs]:
    """Return the texts of each length in whole runs: rows that a run lacks are texts of this length once more."""
    lengths = inputs[LENGTHS_INPUT]
    runs = []
    for length in np.unique(lengths)[::-1]:
        rows, size = np.flatnonzero(lengths == length), rows_of_a_run(int(length), tokens)
        for i in range(0, len(rows), size):
            chosen = np.resize(rows[i : i + size], size)
            tokens_of = np.stack([ids[:length] for ids in inputs[TOKENS_INPUT][chosen]])
            runs.append({TOKENS_INPUT: tokens_of, LENGTHS_INPUT: lengths[chosen]})
    return runs


def net_alone(session: Session, inputs: Inputs) -> float:
    """Return the seconds of the net alone for these texts, sorted by length, no token of padding among them."""
    runs = runs_without_padding(inputs, session.batch_size)
    runner = session.runner
    assert runner is not None
    rate = on_all_cores(len(runs), lambda i: runner.run((FEATURE_OUTPUT,), runs[i]), session.streams)
    computed = sum(int(run[LENGTHS_INPUT].sum()) for run in runs)
    return len(runs) / rate * float(inputs[LENGTHS_INPUT].sum()) / computed


def main() -> None:
    """Choose how to compute, then obey."""
    precision = sys.argv[1]
    found = load_backbone(DEFAULT_OF_TEXTS)
    preparer = preparer_of(found)
    if precision == "auto":
        calibrate(found.path, REVIEWS, column=COLUMN, device="cpu")
    session, choice = open_chosen(
        found, collect(REVIEWS, modality="text", columns=TextColumns(text=COLUMN)), 1, Wish(precision, "cpu")
    )
    parts: dict[str, Callable[[list[str]], float]] = {
        "tokenize": lambda texts: tokenizing(preparer, texts),
        "net": lambda texts: net_alone(session, tokenised(preparer, texts)),
    }
    print("> " + json.dumps(asdict(choice.way)), flush=True)
    for line in sys.stdin:
        command, table, *file = line.split()
        if command in parts:
            seconds = parts[command](read(table))
        else:
            seconds = into_a_store(table, precision, file[0] if command == "vectors" else None)
        print(f"> {seconds}", flush=True)


if __name__ == "__main__":
    main()
