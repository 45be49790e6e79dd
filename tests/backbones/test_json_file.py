"""JSON that a net's makers wrote: what is read, and what is refused before it takes memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxengine.backbones import json_file
from fxengine.backbones.json_file import json_in, object_in
from fxengine.errors import InputError


def test_values_are_read_also_by_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a.json", tmp_path / "b.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, "\xc3\xbc"]}')
    link.symlink_to(path)
    assert json_in(link) == object_in(path) == {"a": [1, "ü"]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no JSON: Expecting value"),
        (b'{"a": ', "is no JSON: Expecting value"),
        (b"[" * 100_000, "is no JSON: maximum recursion depth"),
        (b"\xff\xfe\0", "is no JSON: "),
        (b"[1]", "is no object of JSON"),
    ],
)
def test_what_is_no_object_is_told(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.json {said}"):
        object_in(tmp_path / "a.json")


def test_what_takes_much_memory_or_waits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    monkeypatch.setattr(json_file, "_MOST_INNER", 3)
    path.write_text('[[], {"a": 1}]')
    assert json_in(path) == [[], {"a": 1}]
    path.write_text('[[], {"a": []}]')
    with pytest.raises(InputError, match=r"a\.json has over 3 lists and objects"):
        json_in(path)
    monkeypatch.setattr(json_file, "_MOST", 10)
    with pytest.raises(InputError, match=r"a\.json cannot be read: It is longer than 10 bytes"):
        json_in(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe cannot be read: It is not a regular file"):
        json_in(tmp_path / "pipe")
