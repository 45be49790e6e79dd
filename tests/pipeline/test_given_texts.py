from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine.errors import DecodeError, one_line
from fxengine.pipeline.given_texts import GivenTexts, read_text, text_name


def test_texts_are_listed_in_their_order_and_read_in_utf8() -> None:
    listing = GivenTexts(("b ü", "a\nline", "b ü"))
    items = list(listing)
    assert [item.key for item in items] == ["b ü", "a line", "b ü"]
    assert [listing.read(item, 100)[0] for item in items] == ["b ü".encode(), b"a\nline", "b ü".encode()]
    assert listing.count() == 3


def test_what_is_no_text_or_too_long_is_a_fault_of_that_one() -> None:
    listing = GivenTexts(("\udcff", "four"))
    first, second = listing
    assert first.key == "\\udcff"
    with pytest.raises(DecodeError, match="half a character") as raised:
        listing.read(first, 100)
    assert raised.value.code == "not_text"
    with pytest.raises(DecodeError, match="4 bytes; `max_bytes` allows 3"):
        listing.read(second, 3)


def test_a_name_is_the_text_in_a_line() -> None:
    assert text_name(" It broke.\n\nAt once.\t") == "It broke. At once."
    assert text_name("x" * 60) == "x" * 60
    assert text_name("x" * 61) == "x" * 59 + "…"
    assert text_name(" " * 500 + "late") == "…"


@given(st.text(), st.integers(2, 80))
def test_a_line_is_a_line_and_no_longer_than_asked(text: str, most: int) -> None:
    line = one_line(text, most)
    assert len(line) <= most
    assert line == "…" or len(line.splitlines()) <= 1
    if len(text) <= most:
        assert line == " ".join(text.split())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_as_extract_reads_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("gut, ü".encode(encoding))
    assert read_text(tmp_path / "a.txt", 100) == "gut, ü"


def test_a_fault_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b" \n")
    with pytest.raises(DecodeError, match=r"a\.txt: The text is empty"):
        read_text(tmp_path / "a.txt", 100)
    with pytest.raises(DecodeError, match=r"b\.txt: The file is not there"):
        read_text(tmp_path / "b.txt", 100)
