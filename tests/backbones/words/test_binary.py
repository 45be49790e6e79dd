"""word2vec's binary format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import InputError, WordVectors
from fxengine.backbones.words.kept import Dropped
from tests.backbones.words import files

RNG = np.random.default_rng(3)
ROWS = [(word.encode(), RNG.normal(size=5)) for word in ("in", "New_York", "東京", "\u0085", "a\u00a0b", "1000")]


def opened(folder: Path, content: bytes) -> WordVectors:
    path = folder / "v.bin"
    path.write_bytes(content)
    return WordVectors.open(path)


@pytest.mark.parametrize("newlines", [True, False])
@pytest.mark.parametrize("block", [1 << 20, 7, 30])
def test_rows_are_read_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newlines: bool, block: int
) -> None:
    monkeypatch.setattr("fxengine.backbones.words.stream.BLOCK", block)
    monkeypatch.setattr("fxengine.backbones.words.stream._HEAD", max(block, 40))
    found = opened(tmp_path, files.binary(ROWS, newlines=newlines))
    assert found.format == "word2vec's binary format"
    assert found.words == [word.decode() for word, _ in ROWS]
    np.testing.assert_array_equal(found.array, np.array([row for _, row in ROWS], np.float32))


def test_numbers_that_look_like_spaces_and_line_ends_are_numbers(tmp_path: Path) -> None:
    row = np.frombuffer(b"\n\n\n\n    \n \n ", "<f4")
    found = opened(tmp_path, files.binary([(b"a", row), (b"b", row), (b"c", np.zeros(3))]))
    np.testing.assert_array_equal(found["b"], row)


def test_words_that_are_no_text_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [(word, (1.0, at)) for at, word in enumerate((b"a", b"\xe9t\xe9", b"x\ny", b"a", b"b"))]
    found = opened(tmp_path, files.binary(rows))
    assert (found.words, found.array[:, 1].tolist()) == (["a", "b"], [0, 4])
    assert found.dropped == Dropped(doubled=1, not_utf8=1, no_word=1)


def test_a_header_of_any_count_allocates_nothing(tmp_path: Path) -> None:
    content = files.binary(ROWS)
    for said in (b"1152921504606846976", b"1", b"0"):
        assert len(opened(tmp_path, said + content[1:])) == 6


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (files.binary(ROWS)[:-10], "ends within row 6: it is cut. Fetch it again."),
        (files.binary([(b"a", (1.0, 2.0)), (b"bad", (1.0, np.nan))]), "row 2 ('bad') has a number that is not finite."),
        (b"3 2\n" + b"\0" * 200_000, "row 1 has a word of over 65,536 bytes."),
        (b"3 99999\nab " + bytes(400_000), "is said to have vectors of 99999 numbers; 1 to 65,536 can be read."),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(InputError) as error:
        opened(tmp_path, content)
    assert str(error.value).endswith(why)
