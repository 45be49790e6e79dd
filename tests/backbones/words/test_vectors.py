"""`WordVectors`: what is asked of it, and how it is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine import InputError, WordVectors, cache
from fxengine.backbones.words import kept
from tests.backbones.words import files
from tests.conftest import ROOT

ROWS = [(word.encode(), (float(at), at / 2)) for at, word in enumerate(("the", "of", "king", "Queen", "us"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one test's own."""
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "words"


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "v.txt"
    path.write_bytes(files.text(ROWS))
    return path


def test_words_and_their_vectors(vectors: Path) -> None:
    found = WordVectors.open(vectors)
    assert (len(found), found.dim, found.source) == (5, 2, str(vectors))
    assert found["king"].tolist() == found.vector("king").tolist() == [2, 1]
    assert found.array.dtype == np.float32
    assert "king" in found
    assert "queen" not in found
    assert 3 not in found
    with pytest.raises(KeyError, match=r"v\.txt has no word 'The'; there is 'the'\."):
        found["The"]
    with pytest.raises(KeyError, match=r"v\.txt has no word 'Kings'\."):
        found["Kings"]
    with pytest.raises(KeyError, match="has no word 3"):
        found[3]  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        found.array[0] = 1
    assert (found.tokenizer_json, found.config) == (None, {})


def test_a_matrix_for_an_embedding(vectors: Path) -> None:
    found = WordVectors.open(vectors)
    matrix, missing = found.matrix(iter(["", "US", "us", "queen", "Queen", "nothing", "king"]))
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[0, 0], [4, 2], [4, 2], [0, 0], [3, 1.5], [0, 0], [2, 1]]
    assert missing == ["", "queen", "nothing"]
    matrix[0] = 1  # it is the caller's own
    assert found.matrix([])[0].shape == (0, 2)
    with pytest.raises(InputError, match="Got one text"):
        found.matrix("king")
    with pytest.raises(InputError, match=r"A vocabulary must be words\. Got 3"):
        found.matrix(["a", 3])  # type: ignore[list-item]


def test_the_first_words_alone(vectors: Path) -> None:
    assert WordVectors.open(vectors, words=2).words == ["the", "of"]
    assert len(WordVectors.open(vectors, words=99)) == 5
    for words in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="`words` must be"):
            WordVectors.open(vectors, words=words)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`path` must be a path"):
        WordVectors.open(3)  # type: ignore[arg-type]


def test_it_is_read_once(folder: Path, vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = WordVectors.open(vectors)
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".npy"]
    np.testing.assert_array_equal(np.load(next(folder.glob("*.npy"))), first.array)
    monkeypatch.setattr("fxengine.backbones.words.vectors.open_stream", None)
    again = WordVectors.open(vectors)
    assert (again.words, again.format, again.dropped) == (first.words, first.format, first.dropped)
    monkeypatch.chdir(vectors.parent)
    assert WordVectors.open("v.txt").words == first.words


def test_a_file_that_changed_is_read_anew_and_its_older_copy_goes(folder: Path, vectors: Path) -> None:
    old = WordVectors.open(vectors)
    vectors.write_bytes(files.text([*ROWS, (b"new", (9.0, 9.0))]))
    assert WordVectors.open(vectors).words[-1] == "new"
    assert len(list(folder.iterdir())) == 2
    assert old["king"].tolist() == [2, 1]  # still mapped
    os.utime(vectors, ns=(1, 1))
    assert len(WordVectors.open(vectors)) == 6
    WordVectors.open(vectors, words=2)
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"words": ["a"], "dim": 2}', b"[" * 9])
def test_a_damaged_copy_is_made_again(folder: Path, vectors: Path, damage: bytes) -> None:
    WordVectors.open(vectors)
    next(folder.glob("*.json")).write_bytes(damage)
    assert WordVectors.open(vectors)["king"].tolist() == [2, 1]
    table = next(folder.glob("*.npy"))
    table.write_bytes(table.read_bytes()[:-8])
    assert WordVectors.open(vectors)["us"].tolist() == [4, 2]
    table.write_bytes(b"\x93NUMPY" + damage)
    assert WordVectors.open(vectors)["us"].tolist() == [4, 2]
    table.unlink()
    assert WordVectors.open(vectors)["us"].tolist() == [4, 2]


def test_the_copies_take_a_tenth_of_the_disk(folder: Path, vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [vectors.with_name(f"{at}.txt") for at in range(4)]
    for at, path in enumerate(paths):
        path.write_bytes(files.text(ROWS))
        WordVectors.open(path)
        for made in folder.glob(f"{kept.kept_name(str(path), [path], None)}.*"):
            os.utime(made, (at, at))
    size = sum(path.stat().st_size for path in folder.iterdir()) // 4
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"total": 10 * 3 * size + 50}))
    WordVectors.open(vectors)
    names = [kept.kept_name(str(path), [path], None) for path in (*paths, vectors)]
    assert [kept.find_table(name) is not None for name in names] == [False, False, True, True, True]


def test_where_the_cache_cannot_be_written_it_is_kept_for_the_process(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_own", None)
    monkeypatch.setenv("FXENGINE_CACHE", "/proc/nowhere")
    assert WordVectors.open(vectors)["king"].tolist() == [2, 1]
    monkeypatch.setattr("fxengine.backbones.words.vectors.open_stream", None)
    assert WordVectors.open(vectors)["king"].tolist() == [2, 1]


def test_cleaning_the_cache_takes_them(folder: Path, vectors: Path) -> None:
    WordVectors.open(vectors)
    assert cache.sizes()["words"] > 128
    assert cache.clean() > 128
    assert list(folder.iterdir()) == []


def test_over_two_gigabytes_are_refused(folder: Path, vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 4 * 8 + 7)
    for words in (None, 5, 99):
        with pytest.raises(
            InputError, match=r"v.txt has more vectors than 2 GB hold: set `words` to 4 or less, and on"
        ):
            WordVectors.open(vectors, words=words)
    assert list(folder.iterdir()) == []
    assert len(WordVectors.open(vectors, words=4)) == 4


def test_far_over_two_gigabytes_are_refused_at_once(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 3 * 8)
    read: list[Any] = []
    monkeypatch.setattr(kept._Taken, "take", lambda *given: read.append(given))
    with pytest.raises(InputError, match="set `words` to 3 or less"):
        WordVectors.open(vectors)
    assert read == []


@pytest.mark.parametrize("doubled", [False, True])
def test_the_first_words_are_counted_without_those_left_out(vectors: Path, doubled: bool) -> None:
    rows = [(b"a", (1.0, 1.0)), (b"a" if doubled else b"b", (2.0, 2.0)), (b"c", (3.0, 3.0)), (b"d", (4.0, 4.0))]
    vectors.write_bytes(files.text(rows))
    found = WordVectors.open(vectors, words=2)
    assert found.words == (["a", "c"] if doubled else ["a", "b"])
    assert found.array[:, 0].tolist() == ([1, 3] if doubled else [1, 2])


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that fastText and gensim have just trained, and what these say of them."""
    made = tmp_path_factory.mktemp("golden")
    command = [sys.executable, str(Path(__file__).with_name("golden_child.py")), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"gensim and fasttext-community are not here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["subwords", "letters", "whole", "supervised"])
def test_fasttext_agrees(golden: Path, name: str) -> None:
    expected = json.loads((golden / "fasttext.json").read_text())[name]
    found = WordVectors.open(golden / f"{name}.bin")
    assert found.words == expected["known"]
    matrix, missing = found.matrix(expected["vectors"])
    assert missing == [word for word, row in expected["vectors"].items() if not any(row)]
    np.testing.assert_allclose(matrix, list(expected["vectors"].values()), atol=1e-6)
    length = np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(matrix / length, list(expected["directions"].values()), atol=1e-6)


@pytest.mark.slow
def test_fasttexts_text_agrees(golden: Path) -> None:
    binary, text = WordVectors.open(golden / "subwords.bin"), WordVectors.open(golden / "subwords.vec")
    assert (text.words, text.format) == (binary.words, "word2vec's text")
    np.testing.assert_allclose(text.array, binary.array, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_gensim_agrees(golden: Path) -> None:
    odd = ["one", "Zürich", "東京", "\u0085", "a\u00a0b", "new_york", "'s", "1000"]
    for name in ("odd.txt", "odd.bin", "odd.txt.gz", "glove.txt"):
        found = WordVectors.open(golden / name)
        assert found.words == odd
        np.testing.assert_array_equal(found.array, np.load(golden / "odd.npy"))
    trained = WordVectors.open(golden / "trained.bin")
    assert trained.words == json.loads((golden / "trained.json").read_text())
    np.testing.assert_array_equal(trained.array, np.load(golden / "trained.npy"))


@pytest.mark.slow
def test_what_they_write_and_is_not_read_is_named(golden: Path) -> None:
    with pytest.raises(InputError, match=r"is a pickle, as save\(\) of gensim writes it"):
        WordVectors.open(golden / "pickled.kv")
    with pytest.raises(InputError, match=r"is quantised, as fastText's \.ftz are"):
        WordVectors.open(golden / "supervised.ftz")
