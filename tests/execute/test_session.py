"""What runtimes raise while they compute is said in a sentence, and what they return is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fxengine.backbones.cache import write_backbone
from fxengine.errors import DeviceError, InputError, StoreError
from fxengine.execute import open_session, openvino
from fxengine.execute.int8 import int8_file, quantise
from tests.conftest import tiny_model
from tests.execute.test_onnx_runtime import images

RUNTIMES = ("onnxruntime", "openvino")


def behind(model: onnx.ModelProto, op: str, *constants: np.ndarray, **attributes: Any) -> onnx.ModelProto:
    """Put an operator before the features of a net."""
    flat = next(node for node in model.graph.node if node.output[0] == "features")
    flat.output[0] = "flat"
    names = [f"by{i}" for i in range(len(constants))]
    model.graph.initializer.extend(map(numpy_helper.from_array, constants, names))
    at = list(model.graph.node).index(flat) + 1
    model.graph.node.insert(at, helper.make_node(op, ["flat", *names], ["features"], **attributes))
    del model.graph.output[1:]
    model.graph.node.remove(next(node for node in model.graph.node if node.output[0] == "logits"))
    return model


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_net_that_fails_as_it_runs_is_said(runtime: str, tmp_path: Path) -> None:
    model = behind(tiny_model(), "Reshape", np.array([7, 3]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    write_backbone(model, tmp_path / "net.onnx")
    with pytest.raises((StoreError, InputError), match=r"cannot (run the backbone|load .*net\.onnx): .*shape"):
        open_session(tmp_path / "net.onnx", "cpu", runtime=runtime).run({"images": images(2)})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_net_that_gives_fewer_rows_than_pictures_is_said(runtime: str, tmp_path: Path) -> None:
    write_backbone(behind(tiny_model(), "ReduceMean", axes=[0], keepdims=1), tmp_path / "net.onnx")
    session = open_session(tmp_path / "net.onnx", "cpu", 4, runtime=runtime)
    assert session.run({"images": images(1)})["features"].shape == (1, 8)
    says = r"The backbone gives arrays of \[\(1, 8\)\] for 4 inputs, not a vector for each\."
    with pytest.raises(StoreError, match=says):
        session.run({"images": images(3)})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_no_runtime_can_load_is_said(runtime: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no net")
    with pytest.raises(InputError, match=r"cannot load .*net\.onnx: [\[\w]"):
        open_session(tmp_path / "net.onnx", "cpu", runtime=runtime)


def test_what_is_no_name_of_an_int8_copy_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"There is no int8 copy '\.\./\.\./net': a store names one by its SHA-256"):
        int8_file("../../net")
    (tmp_path / "net.onnx").write_bytes(b"no net")
    with pytest.raises(DeviceError, match=r"No int8 copy of .*net\.onnx can be made: "):
        quantise(tmp_path / "net.onnx", {"images": images(4)})


def raising(error: BaseException) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [RuntimeError("no plugin"), MemoryError(), ImportError("no lib", name="lib")], ids=str
)
def test_an_openvino_that_does_not_start_is_missing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openvino.Core", raising(error))
    openvino.missing.cache_clear()
    try:
        assert str(openvino.missing("bf16")).startswith("Precision bf16 needs OpenVINO, which does not start here: ")
    finally:
        openvino.missing.cache_clear()
