"""Nets of 8-bit codes as ONNX Runtime's quantiser writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from fxengine.backbones import load_backbone
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_onnx
from fxengine.backbones.spec import METADATA_KEY, Facts
from fxengine.errors import InputError
from tests.backbones.sources.test_from_onnx import SIDE, Step, random, save, step

OPTIONS = ExportOptions(scale=1 / 255)
WITH_LOGITS = ExportOptions(scale=1 / 255, logits=True)
PIXELS = np.random.default_rng(3).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
BODY = [
    step("Conv", "x w", "conv", strides=[2, 2]),
    step("Relu", "conv", "map"),
    step("Sigmoid", "map", "gate"),
    step("Mul", "map gate", "gated"),
]
POOL = [step("GlobalAveragePool", "gated", "pool"), step("Flatten", "pool", "flat")]
HEADS = {
    "gemm": [*POOL, step("Gemm", "flat c b", "logits")],
    "matmul": [*POOL, step("MatMul", "flat c", "product"), step("Add", "product b", "logits")],
    "conv": [
        step("Conv", "gated k b", "scores"),
        step("GlobalAveragePool", "scores", "p"),
        step("Flatten", "p", "logits"),
    ],
}
WEIGHTS = {"w": random(8, 3, 3, 3), "c": random(8, 5), "b": random(5), "k": random(5, 8, 1, 1)}
FORMATS: dict[str, dict[str, Any]] = {
    "qdq": {"quant_format": QuantFormat.QDQ},
    "qdq of each channel": {"quant_format": QuantFormat.QDQ, "per_channel": True, "activation_type": QuantType.QInt8,
                            "weight_type": QuantType.QInt8},
    "qoperator": {"quant_format": QuantFormat.QOperator},
}  # fmt: skip


class Photos(CalibrationDataReader):  # type: ignore[misc]
    """Pictures of all brightnesses."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.left = iter([{"x": rng.random((1, 3, SIDE, SIDE), np.float32) * i / 8} for i in range(1, 9)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def plain(folder: Path, head: str) -> Path:
    steps: list[Step] = [*BODY, *HEADS[head], step("Softmax", "logits", "out", axis=1)]
    return save(folder / f"{head}.onnx", steps, WEIGHTS, shape=("n", 3, SIDE, SIDE))


def exported(what: object, options: ExportOptions = OPTIONS) -> tuple[dict[str, np.ndarray], Facts]:
    model = from_onnx.export(str(what), options)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"images": PIXELS}), strict=True))
    return found, Facts.from_json(metadata_of(model)[METADATA_KEY])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("head", HEADS)
def test_the_classifier_of_a_quantised_net_is_found(head: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize_static(plain(tmp_path, head), path, Photos(), **FORMATS[form])
    right, _ = exported(tmp_path / f"{head}.onnx", WITH_LOGITS)
    found, facts = exported(path, WITH_LOGITS)
    for name, share in (("features", 0.1), ("logits", 0.2)):  # noise is brighter than what it was calibrated on
        np.testing.assert_allclose(found[name], right[name], atol=share * np.abs(right[name]).max())
    assert facts.dim == 8
    assert facts.parameters >= 8 * 27  # codes are weights too
    np.testing.assert_array_equal(exported(f"{path}@{facts.cut}")[0]["features"], found["features"])
    assert facts.cut in [row["tensor"] for row in from_onnx.candidates(str(path)) if row["default"]]
    assert facts.multiply_adds is not None
    assert facts.multiply_adds >= 7 * 7 * 8 * 27


@pytest.mark.parametrize("head", HEADS)
def test_a_scale_over_the_whole_batch_is_refused_with_the_reason(head: str, tmp_path: Path) -> None:
    quantize_dynamic(plain(tmp_path, head), tmp_path / "dynamic.onnx")
    with pytest.raises(InputError, match="scale is taken over the whole batch, so a picture's vector would depend on"):
        exported(tmp_path / "dynamic.onnx")


@pytest.mark.parametrize("head", ["gemm", "matmul"])
def test_features_before_such_a_scale_are_taken(head: str, tmp_path: Path) -> None:
    quantize_dynamic(plain(tmp_path, head), tmp_path / "head.onnx", op_types_to_quantize=["MatMul", "Gemm"])
    found, facts = exported(tmp_path / "head.onnx")
    assert facts.cut == "flat"
    np.testing.assert_array_equal(found["features"], exported(tmp_path / f"{head}.onnx")[0]["features"])
    with pytest.raises(InputError, match="depend on its neighbours"):
        exported(tmp_path / "head.onnx", WITH_LOGITS)


def test_the_reported_net_of_codes(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("reports") / "h_qdq.onnx"
    found = load_backbone(f"onnx:{path}", ExportOptions(scale=0.0039, size=(64, 64)))
    assert (found.facts.cut, found.facts.dim) == ("f_DequantizeLinear_Output", 32)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    ours = ort.InferenceSession(found.path).run(["features"], {"images": pixels})[0]
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info(found.facts.cut, TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString())
    values = pixels.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(0.0039)
    np.testing.assert_allclose(ours, session.run([found.facts.cut], {"x": values})[0], atol=0.02)
