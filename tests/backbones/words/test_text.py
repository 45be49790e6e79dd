"""GloVe's text, word2vec's and fastText's .vec: every pitfall that published files have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import InputError, WordVectors
from fxengine.backbones.words import text as module
from fxengine.backbones.words.kept import Dropped
from tests.backbones.words import files

ROWS = [(b"the", (0.5, -1.25, 3e-5)), (b"of", (1.0, 2.0, -3.5)), (b"king", (0.1, 0.2, 0.3))]


def opened(folder: Path, content: bytes, words: int | None = None) -> WordVectors:
    path = folder / "vectors.txt"
    path.write_bytes(content)
    return WordVectors.open(path, words=words)


def refused(folder: Path, content: bytes) -> str:
    with pytest.raises(InputError) as error:
        opened(folder, content)
    return str(error.value).removeprefix(str(folder / "vectors.txt"))


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n", b" \r\n"])
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [False, True])
def test_all_line_ends_headers_and_marks_are_read(
    tmp_path: Path, header: bool, end: bytes, begin: bytes, last: bool
) -> None:
    content = begin + files.text(ROWS, header=header, end=end)
    found = opened(tmp_path, content[: len(content) if last else -len(end)])
    assert found.format == ("word2vec's text" if header else "GloVe's text")
    assert found.words == ["the", "of", "king"]
    np.testing.assert_array_equal(found.array, np.array([row for _, row in ROWS], np.float32))
    assert found.dropped == Dropped()


def test_words_with_spaces_and_marks_that_others_split_at_are_whole(tmp_path: Path) -> None:
    words = [". . .", "at name@domain.com", "\u0085", "a\u00a0b", "\u2028", "1 000", "\u3000", "new york city", " "]
    rows = [(word.encode(), (float(at), 0.5)) for at, word in enumerate(words)]
    plain = [(b"a", (1.0, 1.5)), (b"b", (1.0, 1.5)), (b"c", (0.0, 1.5))]
    found = opened(tmp_path, files.text([*plain, *rows, (b"d", (1.0, 2.0)), (b"e", (1.0, 2.0)), (b"f", (1.0, 2.0))]))
    assert found.words == ["a", "b", "c", *words, "d", "e", "f"]
    assert [found[word][0] for word in words] == list(range(len(words)))


def test_what_is_no_word_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        (b"a", (1.0, 1.0)),
        (b"\xff\xfe", (2.0, 2.0)),
        (b"a", (3.0, 3.0)),
        (b"A", (4.0, 4.0)),
        (b"x\ry", (5.0, 5.0)),
        (b"", (6.0, 6.0)),
        (b"<unk>", (7.0, 7.0)),
    ]
    found = opened(tmp_path, files.text(rows))
    assert found.words == ["a", "A"]
    assert found["a"].tolist() == [1, 1]
    assert found.dropped == Dropped(doubled=1, not_utf8=1, no_word=3)


@pytest.mark.parametrize("said", [b"0 3", b"2 3", b"999999 3", b"1152921504606846976 3"])
def test_the_count_of_a_header_is_not_heeded(tmp_path: Path, said: bytes) -> None:
    found = opened(tmp_path, said + b"\n" + files.text(ROWS))
    assert found.words == ["the", "of", "king"]


def test_vectors_of_one_number_whose_words_are_numbers_are_no_header(tmp_path: Path) -> None:
    assert opened(tmp_path, b"1 5\n2 7\n").words == ["1", "2"]
    assert opened(tmp_path, b"2 1\na 7\nb 8\n").words == ["a", "b"]


def test_numbers_in_every_way_of_writing(tmp_path: Path) -> None:
    found = opened(tmp_path, b"a 1e-05 +1 -.5 1.\nb 1E3 -0 00.5 1e-45\n")
    expected = np.array([[1e-5, 1, -0.5, 1], [1e3, 0, 0.5, 1e-45]], np.float32)
    np.testing.assert_array_equal(found.array, expected)


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert opened(tmp_path, b"\n" + files.text(ROWS) + b"\n \n\r\n").words == ["the", "of", "king"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            b"a 1 2\nb 1 2\nc 1\n",
            ": line 3 has 1 values, where the others have 2. The file is damaged or cut: fetch it",
        ),
        (b"a 1 2\nb 1.5 2.5 3.5\nc 1 2\n", ": line 2 has 3 values, where the others have 2."),
        (b"2 3\na 1 2\nb 1 2\n", ": line 2 has 2 values, where the others have 3."),
        (b"a 1 2\nb 1 0.0.5\n", ": line 2 has '0.0.5' where a number is expected."),
        (b"a 1 2\nb 1 1_0\n", ": line 2 has '1_0' where a number is expected."),
        (b"a 1 2\nb 1  2\nc 1 2\n", ": line 2 has '' where a number is expected."),
        (b"a 1 2\nb nan 2\n", ": line 2 has 'nan', which is no finite number of 32 bits."),
        (b"a 1 2\nb 1 -inf\n", ": line 2 has '-inf', which is no finite number of 32 bits."),
        (b"a 1 2\nb 1e39 1\n", ": line 2 has '1e39', which is no finite number of 32 bits."),
        (b"a\nb\nc\n", " has no word vectors: a line is a word and its numbers, with a single space between each."),
        (b"A text of some words.\nAnd another one.\n", " has no word vectors: a line is a word"),
        (b"a\t1\t2\n", " has no word vectors"),
        (b"\n\n", " has no word vectors"),
        (b"5 3\n", " has no word vectors."),
        (b"<unk> 1 2\n", " has no word vectors."),
        (b"5 0\na\n", " is said to have vectors of 0 numbers; 1 to 65,536 can be read."),
        (b"5 65537\na 1 2\n", " is said to have vectors of 65537 numbers"),
        (b"9 99999999999999999999\na 1 2 3\n", " is said to have vectors of 99999999999999999999 numbers"),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path: Path, content: bytes, why: str) -> None:
    assert refused(tmp_path, content).startswith(why)


def test_lines_are_counted_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxengine.backbones.words.stream.BLOCK", 50)
    monkeypatch.setattr("fxengine.backbones.words.stream._HEAD", 50)
    rows = [(b"w%d" % at, (float(at), 0.5, -1.0)) for at in range(100)]
    for header in (False, True):
        content = files.text(rows, header=header)
        found = opened(tmp_path, content)
        assert found.words == [f"w{at}" for at in range(100)]
        assert found.array[:, 0].tolist() == list(range(100))
        why = refused(tmp_path, content.replace(b"w77 77.0", b"w77 oh"))
        assert why == f": line {78 + header} has 'oh' where a number is expected."


def test_a_line_without_an_end_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST", 1000)
    why = refused(tmp_path, b"a 1\n" + b"1" * 200_000)
    assert why == " has no word vectors: line 2 has over 1,000 bytes."


def test_real_glove(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("text") / "glove.6B.50d.first2446.utf8.txt"
    found = WordVectors.open(path)
    lines = [line.rsplit(" ", 50) for line in path.read_text("utf-8").split("\n")]  # its last line has no end
    assert found.words == [word for word, *_ in lines]
    assert len(found) == 2446
    expected = np.array([values for _, *values in lines], np.float64)
    np.testing.assert_allclose(found.array, expected, rtol=1e-6)


def test_real_word2vec(shared_data: Callable[[str], Path]) -> None:
    found = WordVectors.open(shared_data("text") / "word2vec_googlenews_1000x300.txt")
    assert (len(found), found.dim, found.words[0]) == (1000, 300, "in")
    np.testing.assert_allclose(found["in"][:3], [0.052956, 0.065460, 0.066195], rtol=1e-6)


_WORD = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda word: (
        word != "<unk>"
        and word.strip(" ") == word
        and not re.search(r" [+-]?[\d.]", word)
        and not word.startswith("\ufeff")
    )
)
_ROW = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_WORD, _ROW), min_size=1, max_size=20, unique_by=lambda pair: pair[0]), st.booleans())
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, list[float]]], header: bool
) -> None:
    plain = [(b"plain%d" % at, (0.5, 1.0, 2.0)) for at in range(len(pairs) + 1)]  # most lines have words without spaces
    rows = [*plain, *((word.encode(), row) for word, row in pairs)]
    content = {
        "vectors.txt": files.text(rows, header=header),
        "vectors.bin": files.binary([(word.replace(b" ", b"_"), row) for word, row in rows], newlines=header),
    }
    for name, data in content.items():
        path = tmp_path_factory.mktemp("written") / name
        path.write_bytes(data)
        found = WordVectors.open(path)
        words = [word if name.endswith("txt") else word.replace(" ", "_") for word, _ in pairs]
        kept = {word: row for word, (_, row) in reversed(list(zip(words, pairs, strict=True)))}
        assert list(found.words)[len(plain) :] == list(dict.fromkeys(words))
        for word, row in kept.items():
            np.testing.assert_array_equal(found[word], np.array(row, np.float32))
