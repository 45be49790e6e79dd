"""What bench/words.py measures with: its texts, its splits, its contender, and its lines of docs/figures.md."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench import report_words
from bench.words import figures, in_turn, of_faster, relative
from bench.words_own import Contender
from bench.words_peer import measured, peak
from bench.words_sets import answer_of, short_texts, splits, write_split
from bench.words_ways import over_seeds
from tests.word_vectors import some_vectors, write_vectors

SENTENCES = [f"sentence {i}" for i in range(200)]
LABELS = [str(i % 2) for i in range(200)]
KNOWN = ["the", "film", "was", "fine", ".", "king"]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    return write_vectors(tmp_path / "glove.txt", KNOWN, some_vectors(len(KNOWN)))


def test_short_texts_are_all_different() -> None:
    texts = short_texts(["a", "b", "c"], 7)
    assert texts == ["a 0", "b 1", "c 2", "a 3", "b 4", "c 5", "a 6"]


def test_splits_are_stratified_and_test_no_row_twice() -> None:
    made = splits(SENTENCES, LABELS, 3)
    assert made == splits(SENTENCES, LABELS, 3)
    for split in made:
        assert Counter(zip(split, LABELS, strict=True)) == {
            (side, label): count for side, count in (("train", 60), ("val", 20), ("test", 20)) for label in "01"
        }
    tested = [{i for i, side in enumerate(split) if side == "test"} for split in made]
    assert len(set.union(*tested)) == 120


def test_texts_that_are_alike_stay_on_one_side() -> None:
    texts = [*SENTENCES[:190], *(f"  {text.upper()} " for text in SENTENCES[:10])]
    for split in splits(texts, LABELS, 5):
        assert split[:10] == split[190:]


def test_more_splits_than_there_are_test_rows_for_are_refused() -> None:
    with pytest.raises(SystemExit, match="there are 5 splits"):
        splits(SENTENCES, LABELS, 6)


def test_a_table_has_no_side_for_a_probe_where_nets_select(tmp_path: Path) -> None:
    path = write_split(tmp_path / "t.csv", ["a, b", "c", "d"], ["0", "1", "0"], ["train", "val", "test"])
    with path.open(newline="", encoding="utf-8") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("a, b", "0", "train", "train"),
            ("c", "1", "val", ""),
            ("d", "0", "test", "test"),
        ]


def test_a_reading_is_measured_by_a_process_of_its_own(vectors: Path, tmp_path: Path) -> None:
    wanted, out = tmp_path / "w.json", tmp_path / "v.npy"
    wanted.write_text(json.dumps(["king", "the"]))
    command = [sys.executable, "-m", "bench.words_read", vectors, wanted, out]
    found = answer_of(command, FXENGINE_CACHE=str(tmp_path / "cache"))
    assert found["words"] == len(KNOWN)
    assert 0 < found["seconds"] < 60
    assert 1e7 < found["bytes_before"] <= found["peak_bytes"]
    assert found["versions"].keys() == {"numpy", "pyarrow"}
    np.testing.assert_array_equal(np.load(out), some_vectors(len(KNOWN))[[5, 0]])


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match=r"failed:\n(.|\n)*no such thing"):
        answer_of([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_memory_counts_what_was_taken() -> None:
    before = peak()
    taken = np.ones(1 << 23)
    assert peak() >= before
    assert peak() >= taken.nbytes


def test_what_is_measured_is_answered_on_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted, out = tmp_path / "w.json", tmp_path / "v.npy"
    wanted.write_text('["a", "b"]')
    measured(lambda words: (9, np.full((len(words), 3), 2.0)), str(wanted), str(out), {"one": "1"})
    line = capsys.readouterr().out
    assert line.startswith("> {")
    found = json.loads(line[2:])
    assert (found["words"], found["versions"]) == (9, {"one": "1"})
    assert np.load(out).tolist() == [[2.0] * 3] * 2


def test_rounds_are_taken_in_turn_and_the_first_is_not_counted() -> None:
    order: list[str] = []

    def run(name: str, seconds: float) -> dict[str, float]:
        order.append(name)
        return {"seconds": seconds + len(order), "cpu_seconds": 1.0, "peak_bytes": len(order), "bytes_before": 1}

    found = in_turn({"a": lambda: run("a", 0.0), "b": lambda: run("b", 10.0)}, 3)
    assert order == ["a", "b"] * 4
    assert [row["seconds"] for row in found["a"]] == [3.0, 5.0, 7.0]
    made = figures(found["b"])
    assert made["seconds"] == {"best": 14.0, "median": 16.0}
    assert made["peak_bytes"] == {"most": 8}


def test_the_contender_embeds_alike_in_memory_and_in_a_store(vectors: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text\nthe film was fine .\nThe king\nunheard-of film\n")
    contender = Contender(f"vectors:{vectors}")
    assert contender.embed(str(table), str(tmp_path / "a.npy")) > 0
    seconds = contender.store(str(table), str(tmp_path / "b.npy"))
    assert contender.seconds["call"] > seconds > 0
    known = some_vectors(len(KNOWN))
    expected = np.stack([known[:5].mean(axis=0), known[[0, 5]].mean(axis=0), known[1]])
    for name in ("a", "b"):
        assert relative(np.load(tmp_path / f"{name}.npy"), expected) < 1e-6
    both = contender.alone(str(table))
    assert both == pytest.approx(contender.seconds["tokenize"] + contender.seconds["net"])


def test_vectors_are_apart_by_their_worst_row() -> None:
    a = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0]])
    assert relative(a, a) == 0.0
    assert relative(a, np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 0.8]])) == pytest.approx(0.25)
    assert relative(np.ones((1, 1)), np.zeros((1, 1))) == 1.0


def test_rates_are_over_the_faster_of_two() -> None:
    rates = {
        "ours": {"best": 60.0, "median": 40.0},
        "one": {"best": 30.0, "median": 10.0},
        "two": {"best": 20.0, "median": 20.0},
    }
    assert of_faster(rates, ("ours",), ("one", "two")) == {"ours": {"best": 2.0, "median": 2.0}}


def test_the_test_rows_of_all_seeds_count_together() -> None:
    rows = [{"right": right, "test_rows": 10, "mean": right / 10, "seconds": float(right)} for right in (6, 8, 7)]
    found = over_seeds(rows)
    assert (found["mean"], found["test_rows"]) == (0.7, 30)
    assert (round(found["low"], 3), round(found["high"], 3)) == (0.521, 0.833)
    assert (found["lowest"], found["highest"]) == (0.6, 0.8)
    assert found["seconds"] == {"best": 6.0, "median": 7.0}


def test_every_part_has_its_lines() -> None:
    pair = {"best": 2.0, "median": 3.0}
    reading = {"seconds": pair, "cpu_seconds": pair, "peak_bytes": {"most": 3e8}, "bytes_before": {"most": 1e8}}
    told = report_words.WORDS["words_read"](
        {
            "file": "glove.6B.50d.txt",
            "words": {"gensim": 400_000},
            "looked_up": 1000,
            "worst_difference": 0.0,
            "versions": {"gensim": {"gensim": "4.4.0"}},
            "readings": {"fxengine, first": reading, "gensim": reading},
            "of_gensim": {"best": 6.0, "median": 5.5},
        }
    )
    assert told[0][0] == "reading glove.6B.50d.txt, 400,000 words, s, best, median"
    assert "fxengine, first 2.00, 3.00 s (of processor time 2.00, 3.00), peak 300 MB; gensim" in told[0][1]
    assert "**6.0x, 5.5x** as fast as gensim 4.4.0" in told[0][1]
    assert told[0][2] == "`python -m bench.words read`"
    model = {
        "dim": 50,
        "versions": {"model2vec": "0.10.0"},
        "rates": {"model2vec": pair},
        "apart": {"fxengine in memory": 1e-7},
        "of_model2vec": {"fxengine into a store": pair},
    }
    told = report_words.WORDS["words_speed"]({"texts": 100_000, "rates": {"one": pair}, "models": {"words": model}})
    assert told[0][:2] == ("short texts to vectors by glove.6B.50d, 100,000, texts/s, best, median", "one 2, 3")
    assert "fxengine into a store **2.00x, 3.00x**; vectors differ by 1e-07 at most" in told[1][1]
    way = over_seeds([{"right": 480, "test_rows": 600, "mean": 0.8, "seconds": 1.0}])
    found = {"rows": 3000, "sides": [{}], "ways": {"a": way, "b": way}, "of_guide": {"a": 0.0125}, "wins": "a"}
    ((what, figure, _),) = report_words.WORDS["words_sentiment"](found)
    assert what == "sentiment of 3,000 review sentences, 1 splits of 60, 20, 20%, test accuracy"
    assert figure.startswith("**a 80.0%** (76.6% to 83.0%; splits 80.0% to 80.0%), 1.0 s; b 80.0% (")
    assert "Over plain Keras on the same rows: a +1.2 points." in figure
    assert "over all 600 test rows" in figure
