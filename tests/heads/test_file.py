from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from fxengine.errors import InputError, StoreError
from fxengine.heads import head_model, make_head
from fxengine.heads.file import METADATA_KEY, Head, HeadFacts, save_head
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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": "80"}, r"h.onnx is damaged: 'rows' cannot be '80'. Update fxengine, or train the head again"),
        ({"classes": "ab"}, r"h.onnx is damaged: 'classes' cannot be 'ab'"),
        ({"accuracy": {"mean": "high"}}, r"'accuracy.mean' cannot be 'high'"),
        ({"versions": {"fxengine": "9.0"}, "towers": 2}, r"h.onnx was written by fxengine 9.0 and says 'towers' of"),
        ({"format": 2}, r"h.onnx is of another format"),
    ],
)
def test_what_a_head_says_of_itself_is_checked(change: dict[str, object], says: str, tmp_path: Path) -> None:
    x, y = blobs(2)
    model = head_model("ridge", make_head("ridge").fit(x, y), 12, "classes", 2)
    save_head(tmp_path / "h.onnx", model, HeadFacts("s" * 64, "tiny", "ridge", ("a", "b"), {"mean": 1.0}, len(x)))
    model = onnx.load(tmp_path / "h.onnx")
    helper.set_model_props(model, {METADATA_KEY: json.dumps({**json.loads(model.metadata_props[0].value), **change})})
    onnx.save(model, tmp_path / "h.onnx")
    with pytest.raises(InputError, match=says):
        Head.load(tmp_path / "h.onnx")
