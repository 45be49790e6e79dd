"""fastText's .bin, against a plain count of its n-grams."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from fxengine import InputError, WordVectors
from fxengine.backbones.words import fasttext
from fxengine.backbones.words.fasttext import MAGIC, open_model
from tests.backbones.words import files

WORDS = ["</s>", "the", "naïve", "東京", "a", "\u0085"]
RNG = np.random.default_rng(4)
ROWS = RNG.normal(size=(len(WORDS) + 50, 6)).astype(np.float32)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.bin"
    path.write_bytes(content)
    return path


def plain_hash(text: str) -> int:
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ ((byte - 256 if byte > 127 else byte) & 0xFFFFFFFF)) * 16777619) & 0xFFFFFFFF
    return value


def plain_rows(word: str, shortest: int, longest: int, buckets: int = 50) -> list[int]:
    marked = f"<{word}>" if word != "</s>" else ""
    found = [
        marked[at : at + count]
        for at in range(len(marked))
        for count in range(max(1, shortest), longest + 1)
        if at + count <= len(marked) and not (count == 1 and at in (0, len(marked) - 1))
    ]
    return [plain_hash(each) % buckets for each in found]


@pytest.mark.parametrize("ngrams", [(3, 6), (1, 2), (0, 3), (2, 2), (5, 40)])
def test_vectors_are_means_over_rows_of_the_word_and_its_ngrams(tmp_path: Path, ngrams: tuple[int, int]) -> None:
    path = written(tmp_path, files.fasttext([w.encode() for w in WORDS], ROWS, ngrams=ngrams, buckets=50))
    found = WordVectors.open(path)
    assert found.format == "fastText's .bin"
    assert found.words == WORDS
    for at, word in enumerate(WORDS):
        rows = [at, *(len(WORDS) + each for each in plain_rows(word, *ngrams))]
        np.testing.assert_allclose(found[word], ROWS[rows].mean(axis=0), atol=1e-6)
    for word in ("theme", "naïveté", "東京都", "x", "unbelievable"):
        rows = [len(WORDS) + each for each in plain_rows(word, *ngrams)]
        if rows:
            np.testing.assert_allclose(found.vector(word), ROWS[rows].mean(axis=0), atol=1e-6)
            assert word not in found
        else:
            with pytest.raises(KeyError, match=f"has no word '{word}'"):
                found[word]


def test_a_matrix_has_vectors_of_unknown_words_from_subwords(tmp_path: Path) -> None:
    found = WordVectors.open(written(tmp_path, files.fasttext([b"the"], ROWS, ngrams=(4, 6), buckets=50)))
    matrix, missing = found.matrix(["The", "x", "themes"])
    assert missing == ["x"]
    np.testing.assert_array_equal(matrix[0], found["the"])
    np.testing.assert_array_equal(matrix[1], np.zeros(6))
    np.testing.assert_array_equal(matrix[2], found["themes"])


def test_many_words_are_looked_up_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, files.fasttext([w.encode() for w in WORDS], ROWS, ngrams=(2, 4), buckets=50))
    names = [*WORDS, *(f"{word}{word}" for word in WORDS)]
    at_once = WordVectors.open(path).matrix(names)[0]
    monkeypatch.setattr(fasttext, "_GATHERED", 1)
    path.rename(tmp_path / "again.bin")
    again = WordVectors.open(tmp_path / "again.bin")
    np.testing.assert_array_equal(again.matrix(names)[0], at_once)
    np.testing.assert_array_equal(again.array, at_once[: len(WORDS)])


def test_labels_are_no_words_and_pruned_ngrams_have_other_rows(tmp_path: Path) -> None:
    pruned = {plain_rows("the", 3, 3)[1]: 1, 7: 0}
    content = files.fasttext([b"a", b"the"], ROWS, labels=[b"__label__x"], ngrams=(3, 3), buckets=50, pruned=pruned)
    found = WordVectors.open(written(tmp_path, content))
    assert found.words == ["a", "the"]
    taken = [2 + pruned[each] for each in plain_rows("the", 3, 3) if each in pruned]
    np.testing.assert_allclose(found["the"], ROWS[[1, *taken]].mean(axis=0), atol=1e-6)
    content = files.fasttext([b"a", b"the"], ROWS, ngrams=(3, 3), buckets=50, pruned={})
    np.testing.assert_array_equal(WordVectors.open(written(tmp_path, content))["the"], ROWS[1])


def test_the_first_words_alone(tmp_path: Path) -> None:
    path = written(tmp_path, files.fasttext([w.encode() for w in WORDS], ROWS))
    assert WordVectors.open(path, words=2).words == WORDS[:2]
    with pytest.raises(KeyError):
        WordVectors.open(path)["unknown"]


def test_a_file_that_changed_gives_no_subwords(tmp_path: Path) -> None:
    path = written(tmp_path, files.fasttext([b"the"], ROWS, ngrams=(3, 6), buckets=50))
    found = WordVectors.open(path)
    written(tmp_path, files.fasttext([b"a", b"the"], ROWS, ngrams=(3, 6), buckets=50))
    with pytest.raises(InputError, match="was changed since it was opened"):
        found["themes"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (files.fasttext([b"a"], ROWS, quantised=True), "is quantised, as fastText's .ftz are: "),
        (
            files.fasttext([b"a"], ROWS, version=11),
            "is a .bin of fastText in version 11 of its format; 12 can be read.",
        ),
        (files.fasttext([b"a"], ROWS)[:-1], "is a .bin of fastText that is cut. Fetch it again."),
        (files.fasttext([b"a"], ROWS)[:101], "is a .bin of fastText that is cut. Fetch it again."),
        (files.fasttext([b"a"], ROWS)[:93], "is a .bin of fastText that is cut or damaged."),
        (files.fasttext([b"a"], ROWS)[:50], "is a .bin of fastText that is cut. Fetch it again."),
        (MAGIC, "is a .bin of fastText that is cut. Fetch it again."),
        (files.fasttext([b"a"], ROWS[:3], ngrams=(3, 6), buckets=50), "is a .bin of fastText that is damaged."),
        (files.fasttext([], ROWS), "is a .bin of fastText that is damaged."),
        (files.fasttext([b"a"], ROWS, pruned={3: 9}), "is a .bin of fastText that is damaged."),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as error:
        WordVectors.open(path)
    assert str(error.value).startswith(f"{path} {why}")


def test_hostile_sizes_allocate_nothing(tmp_path: Path) -> None:
    content = files.fasttext([b"a"], ROWS)
    shape = content.index(b"\0" + (len(ROWS)).to_bytes(8, "little")) + 1
    for at, size in ((64, 4), (68, 4), (shape, 8), (shape + 8, 8)):
        for value in (b"\xff" * (size - 1) + b"\x7f", b"\xff" * size):
            path = written(tmp_path, content[:at] + value + content[at + size :])
            with pytest.raises(InputError, match=r"is a \.bin of fastText that is (cut|damaged)"):
                open_model(path)


def test_one_in_a_gz_is_to_be_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(files.fasttext([b"a"], ROWS)))
    with pytest.raises(InputError, match=r"is a \.bin of fastText, which is read where it lies: unpack it first"):
        WordVectors.open(path)


def test_long_words_are_taken_by_the_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [b"the" * count for count in (1, 400, 2, 700, 3)]
    rows = np.concatenate([ROWS, ROWS])[: len(words) + 50]
    subwords = open_model(written(tmp_path, files.fasttext(words, rows, ngrams=(3, 6), buckets=50))).subwords
    together = subwords.vectors(words, np.arange(len(words)))[0]
    monkeypatch.setattr(fasttext, "_GATHERED", 6 * 4 * 1000)
    np.testing.assert_array_equal(subwords.vectors(words, np.arange(len(words)))[0], together)
    assert [len(each) for each in subwords.vectors([])] == [0, 0]
    monkeypatch.setattr(fasttext, "_MOST_GATHERED", 6 * 4 * 5000)
    with pytest.raises(InputError, match=r"model.bin: a word of 2,100 bytes is too long"):
        subwords.vectors(words)
