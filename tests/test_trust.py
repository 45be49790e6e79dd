from __future__ import annotations

from pathlib import Path

import pytest

from fxengine import cache
from fxengine.trust import note_named, was_named


def test_what_was_named_is_known_by_kind_and_value() -> None:
    assert not was_named("root", "/photos")
    note_named("root", "/photos")
    assert was_named("root", "/photos")
    assert not was_named("backbone", "/photos")
    assert not was_named("root", "/photos/")


def test_a_name_that_is_not_utf_8_can_be_noted() -> None:
    note_named("root", "/\udcff")
    assert was_named("root", "/\udcff")


def test_without_a_cache_it_is_known_to_this_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_own", None)
    (tmp_path / "file").touch()
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "file"))
    note_named("root", "/photos")
    assert was_named("root", "/photos")
    monkeypatch.setattr(cache, "_own", None)
    assert not was_named("root", "/photos")
