"""Texts on the disk come back by their number, to any thread, and leave nothing behind."""

from __future__ import annotations

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine.collect.kept_texts import KeptTexts


@given(st.lists(st.binary(max_size=20) | st.none(), max_size=20))
def test_texts_come_back(texts: list[bytes | None]) -> None:
    kept = KeptTexts("it")
    for text in texts:
        kept.append(text)
    kept.finish()
    assert len(kept) == len(texts)
    for number, text in enumerate(texts):
        assert kept.size(number) == (-1 if text is None else len(text))
        assert kept.sha256(number) == (None if text is None else hashlib.sha256(text).hexdigest())
        assert text is None or kept.text(number) == text


def test_any_thread_may_read() -> None:
    kept = KeptTexts("it")
    texts = [f"{number}".encode() * (number % 50) for number in range(2000)]
    for text in texts:
        kept.append(text)
    kept.finish()
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(kept.text, range(len(texts)))] == texts


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    kept = KeptTexts("it")
    kept.append(b"a")
    kept.finish()
    assert [*tmp_path.iterdir()] == []
    del kept
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208
