from __future__ import annotations

from pathlib import Path

import pytest

from fxengine.errors import InputError
from fxengine.ui.page_file import write_picture, write_text


def test_a_page_is_written_in_utf8(tmp_path: Path) -> None:
    write_text("ü\n", tmp_path / "t.html")
    assert (tmp_path / "t.html").read_bytes() == "ü\n".encode()


def test_a_plot_is_a_png(tmp_path: Path) -> None:
    write_picture(b"\x89PNG", tmp_path / "t.PNG")
    assert (tmp_path / "t.PNG").read_bytes() == b"\x89PNG"
    with pytest.raises(InputError, match=r"t\.jpg must end in \.png\."):
        write_picture(b"", tmp_path / "t.jpg")
    with pytest.raises(InputError, match=r"Cannot write .*none/t\.png: No such file or directory"):
        write_picture(b"", tmp_path / "none" / "t.png")


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Cannot write \S*none/t\.html: No such file or directory\.$"):
        write_text("", tmp_path / "none" / "t.html")


def test_a_page_ends_like_one(tmp_path: Path) -> None:
    write_text("", tmp_path / "t.HTM")
    with pytest.raises(InputError, match=r"t\.png must end in \.html\."):
        write_text("", tmp_path / "t.png")
    assert [path.name for path in tmp_path.iterdir()] == ["t.HTM"]
