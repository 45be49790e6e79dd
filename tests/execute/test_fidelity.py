"""The gate that a faster way of computing must pass, tested on ways that are known to be good and bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fxengine.backbones import load_backbone
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.execute import open_session, openvino
from fxengine.execute.fidelity import Fidelity, compare


def test_against_a_count_by_hand() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 16)).astype(np.float32)
    b = (a + rng.normal(0, 0.5, a.shape)).astype(np.float32)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a.astype(np.float64), b.astype(np.float64))]
    kept = []
    for i in range(40):
        others = [j for j in range(40) if j != i]
        mine = {j: float(unit[0][i] @ unit[0][j]) for j in others}
        theirs = sorted(others, key=lambda j, i=i: -float(unit[1][i] @ unit[1][j]))[:10]  # type: ignore[misc]
        tenth = sorted(mine.values())[-10]
        kept += [mine[j] >= tenth - 0.005 for j in theirs]
    found = compare(a, b)
    cosine = (unit[0] * unit[1]).sum(axis=1)
    assert found.kept_neighbours == pytest.approx(np.mean(kept))
    assert (found.mean_cosine, found.worst_cosine) == pytest.approx((cosine.mean(), cosine.min()))


def test_the_same_features_are_kept_whole() -> None:
    a = np.random.default_rng(1).normal(size=(32, 8)).astype(np.float32)
    assert compare(a, 3 * a) == Fidelity(pytest.approx(1.0), pytest.approx(1.0), 1.0)  # type: ignore[arg-type]
    assert compare(a, a).keeps_features


def test_both_thresholds_hold() -> None:
    assert Fidelity(0.999, 0.9, 0.95).keeps_features
    assert not Fidelity(0.9989, 0.9, 1.0).keeps_features
    assert not Fidelity(1.0, 0.9, 0.949).keeps_features


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Return float32 with only so many bits of the mantissa, rounded to nearest."""
    drop = 23 - bits
    whole = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return (((whole + (1 << (drop - 1))) >> drop) << drop).astype(np.uint32).view(np.float32)


def changed(source: Path, target: Path, change: Callable[[str, np.ndarray], np.ndarray]) -> Path:
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = np.asarray(change(tensor.name, numpy_helper.to_array(tensor)), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, target)
    return target


@pytest.mark.slow
def test_good_ways_pass_and_bad_ones_fail(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Weights in bf16 (7 bits) pass; a wrong mean fails, and so does a net of which every second weight has 1 bit."""
    backbone = load_backbone("efficientnet_lite0")
    paths = sorted(shared_data("imagenet_500").iterdir())[::10]
    pictures = np.empty((len(paths), 224, 224, 3), np.uint8)
    for path, out in zip(paths, pictures, strict=True):
        data = path.read_bytes()
        picture.decode_into(data, picture.read_header(data, Limits()), backbone.picture_recipe, out)

    def features(path: Path, precision: str = "fp32") -> np.ndarray:
        return open_session(path, "cpu", precision=precision).run({"images": pictures}, ("features",))["features"]

    def half_rounded(_: str, values: np.ndarray) -> np.ndarray:
        flat = values.copy().reshape(-1)
        flat[::2] = rounded(flat[::2], 1)
        return flat.reshape(values.shape)

    reference = features(backbone.path)
    good = changed(backbone.path, tmp_path / "bf16.onnx", lambda _, values: rounded(values, 7))
    mean = changed(backbone.path, tmp_path / "mean.onnx", lambda n, v: v * 0 if n == "fx_pre/mean" else v)
    half = changed(backbone.path, tmp_path / "half.onnx", half_rounded)
    assert compare(reference, features(good)).keeps_features
    assert not compare(reference, features(mean)).keeps_features
    assert not compare(reference, features(half)).keeps_features
    if openvino.missing("bf16") is None:
        assert compare(reference, features(backbone.path, "bf16")).keeps_features
