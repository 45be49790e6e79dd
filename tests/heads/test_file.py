from __future__ import annotations

from pathlib import Path

import pytest

from fxengine.errors import InputError, StoreError
from fxengine.heads import head_model, make_head
from fxengine.heads.file import Head, HeadFacts, save_head
from tests.conftest import tiny_model
from tests.heads.test_contract import blobs


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no head file"):
        Head.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(InputError, match="is not a readable ONNX file"):
        Head.load(tmp_path / "text.onnx")
    (tmp_path / "tiny.onnx").write_bytes(tiny_model().SerializeToString())
    with pytest.raises(InputError, match="but no head that `fxengine probe` wrote"):
        Head.load(tmp_path / "tiny.onnx")


def test_a_head_of_another_space_is_refused(tmp_path: Path) -> None:
    x, y = blobs(2)
    facts = HeadFacts("s" * 64, "tiny", "ridge", ("a", "b"), {"mean": 1.0}, len(x))
    save_head(tmp_path / "h.onnx", head_model("ridge", make_head("ridge").fit(x, y), 12, "classes", 2), facts)
    head = Head.load(tmp_path / "h.onnx")
    head.check_space("s" * 64, "store")
    with pytest.raises(StoreError, match=r"features of 'tiny' \(ssssssssssss\); store holds those of another space"):
        head.check_space("t" * 64, "store")
