from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fxengine import InputError
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.text_table import TextTable
from fxengine.pipeline import calibrate as module
from fxengine.pipeline.calibrate import calibrate
from tests.reviews import write_reviews


def test_a_table_is_compared_on_by_its_column(
    tmp_path: Path, tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(module, "compare_ways", lambda found, listing, count, **_: seen.append((found, listing, count)))
    calibrate(tiny_texts.path, write_reviews(tmp_path / "t.csv"), column="label")
    ((found, listing, count),) = seen
    assert (found.fingerprint, count) == (tiny_texts.fingerprint, 60)
    assert [listing.read(item, 100)[0] for item in listing][:2] == [b"bad", b"good"]


def test_what_it_cannot_compare_on_is_refused(
    photos: Path, tmp_path: Path, tiny: BackboneFile, tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_reviews(tmp_path / "t.csv")
    with pytest.raises(InputError, match="holds texts, and tiny takes pictures"):
        calibrate(tiny.path, table)
    with pytest.raises(InputError, match="tiny_text takes texts: give a table of texts"):
        calibrate(tiny_texts.path, photos)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setattr(TextTable, "__init__", lambda *_: pytest.fail("the table was read"))
    with pytest.raises(InputError, match=r"pip install 'fxengine\[text\]'"):
        calibrate(tiny_texts.path, table)
