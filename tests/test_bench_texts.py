"""What bench/texts.py measures with: its texts, its ratios, and its lines of docs/figures.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import report_texts
from bench.texts import ratios, same_neighbours
from bench.texts_own import runs_without_padding
from bench.texts_peer import read
from bench.texts_sets import LONGEST, SHORTEST, workloads, write_table
from fxengine.backbones.spec import LENGTHS_INPUT, TOKENS_INPUT
from fxengine.execute.shapes import CPU_TOKENS

SENTENCES = [" ".join([f"s{i}"] * (3 + 7 * i % 40)) for i in range(300)]


def words(text: str) -> int:
    return len(text.split())


def test_the_kinds_of_texts_hold_every_sentence_once_at_most() -> None:
    kinds = workloads(SENTENCES, words)
    for kind, texts in kinds.items():
        found = " ".join(texts).split()
        assert len(found) <= sum(map(words, SENTENCES))
        assert len(found) > 0.9 * sum(map(words, SENTENCES)), kind
        if kind != "long":
            assert sorted(found) == sorted(" ".join(SENTENCES).split())
    assert sorted(kinds["short"]) == sorted(SENTENCES)
    assert all(SHORTEST <= words(text) <= LONGEST for text in kinds["long"])
    sentences = [len(set(text.split())) for text in kinds["mixed"]]
    assert max(sentences) == 16
    assert min(sentences) == 1


def test_the_kinds_of_texts_are_the_same_ones_again() -> None:
    assert workloads(SENTENCES, words) == workloads(SENTENCES, words)


def test_contenders_read_the_texts_that_were_written(tmp_path: Path) -> None:
    texts = ['He said "no", twice.', "two\nlines", "ünïcode 日本"]
    assert read(str(write_table(tmp_path / "t.csv", texts))) == texts


def test_the_net_alone_computes_no_padding() -> None:
    lengths = np.array([3, 200, 3, 60, 3, 60], np.int32)
    tokens = np.zeros((6, 256), np.int32)
    for row, length in enumerate(lengths):
        tokens[row, :length] = 100 + row
    runs = runs_without_padding({TOKENS_INPUT: tokens, LENGTHS_INPUT: lengths}, CPU_TOKENS)
    assert [run[TOKENS_INPUT].shape for run in runs] == [(1, 200), (2, 60), (42, 3)]
    assert all(run[TOKENS_INPUT].all() for run in runs)
    assert [sorted(set(run[TOKENS_INPUT][:, 0].tolist())) for run in runs] == [[101], [103, 105], [100, 102, 104]]


def test_ratios_are_over_the_limit_and_the_fastest_peer() -> None:
    rates = {
        "fxengine fp32": 80.0,
        "fxengine auto": 120.0,
        "one": 20.0,
        "other": 40.0,
        "fxengine fp32 again": 100.0,
        "tokenizing alone (T)": 300.0,
        "net alone (M), fp32": 150.0,
        "net alone (M), auto": 300.0,
    }
    found = ratios({name: {"best": rate, "median": rate / 2} for name, rate in rates.items()}, ["one", "other"])
    for key in ("best", "median"):
        assert found["itself"][key] == 0.8
        assert found["share_of_limit"]["fp32"][key] == 0.8  # of 100
        assert found["share_of_limit"]["auto"][key] == 0.8  # of 150
        assert found["of_best_peer"]["auto"][key] == 3.0
        assert found["of_peer"]["one"]["fp32"][key] == 4.0


def test_same_neighbours_is_the_share_of_rows_that_stay() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 8))
    assert same_neighbours(a, 3 * a) == 1.0
    angles = np.radians([0.0, 10.0, 30.0, 70.0])
    moved = np.radians([0.0, 10.0, 30.0, 15.0])
    circle, other = (np.stack([np.cos(x), np.sin(x)], axis=1) for x in (angles, moved))
    # nearest: 1 0 1 2 of the first; 1 3 3 1 of the second
    assert same_neighbours(circle, other, k=1) == pytest.approx(1 / 4)


def test_every_part_has_its_line() -> None:
    pair = {"best": 2.0, "median": 1.5}
    names = ("fxengine fp32", "fxengine auto", "fastembed", "fxengine fp32 again")
    by_precision = {"fp32": pair, "auto": pair}
    kind = {
        "texts": 10,
        "tokens": 100,
        "rates": {name: {"best": 4.0, "median": 3.0} for name in names},
        "itself": {"best": 1.0, "median": 1.01},
        "share_of_limit": {"fp32": {"best": 0.9, "median": 0.8}, "auto": {"best": 0.7, "median": 0.6}},
        "of_peer": {"fastembed": by_precision},
        "agreement": {"fastembed": {"mean": 1.0, "worst": 0.99999}},
    }
    auto = {"runtime": "onnxruntime", "precision": "fp32"}
    ((what, figure, command),) = report_texts.TEXTS["texts"]({"kinds": {"short": kind}, "auto": auto})
    assert what == "short texts to vectors, 10 of 10 tokens, texts/s (tokens/s), best, median"
    assert "fastembed 4.0, 3.0 (40, 30)" in figure
    assert "again" not in figure
    assert "over fastembed **2.00x, 1.50x**, auto **2.00x, 1.50x**; over its own second run 1.00x, 1.01x" in figure
    assert "**90%, 80% of the limit** 1/(1/T + 1/M), auto (onnxruntime in fp32) 70%, 60%" in figure
    assert command == "`python -m bench.texts speed`"
    rows = {"3000": {"peak_bytes": 4e8}, "300000": {"peak_bytes": 5e8}}
    assert report_texts.TEXTS["texts_memory"]({"rows": rows})[0][1] == "400 MB at 3,000 rows, 500 MB at 300,000 rows"
    score = {"mean": 0.8, "low": 0.7, "high": 0.9, "seconds": 1.0}
    found = {"rows": 3000, "extract_seconds": 9.0, "wins": "a", "ways": {"a": score, "b": score}}
    told = report_texts.TEXTS["texts_sentiment"](found)[0][1]
    assert told.startswith("**a 80.0%** (70.0% to 90.0%), 1.0 s; b 80.0% (")
