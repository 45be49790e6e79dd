from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from fxengine.backbones.graph.run import open_plain, outputs_of, run_model, run_tensors
from tests.conftest import tiny_model

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


def test_a_model_and_its_file_give_every_output(tmp_path: Path) -> None:
    onnx.save(tiny_model(), tmp_path / "net.onnx")
    found = run_model(tiny_model(), PICTURES)
    assert {name: values.shape for name, values in found.items()} == {"features": (2, 8), "logits": (2, 3)}
    for optimised in (True, False):
        again = outputs_of(open_plain(tmp_path / "net.onnx", optimised=optimised), PICTURES)
        np.testing.assert_allclose(again["features"], found["features"], rtol=1e-5)


def test_tensors_inside_are_told() -> None:
    found = run_tensors(tiny_model(), ["relu", "features"], PICTURES)
    assert found["relu"].shape == (2, 8, 32, 32)
    np.testing.assert_allclose(found["relu"].mean(axis=(2, 3)), found["features"], rtol=1e-5)


def test_what_cannot_run_is_raised() -> None:
    model = tiny_model()
    model.graph.node[-1].op_type = "NoSuchOperator"
    with pytest.raises(Exception, match="NoSuchOperator"):
        open_plain(model)
