"""Static int8: a copy of a backbone whose convolutions compute in 8 bits, calibrated on the user's own pictures."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.cache import cache_folder

_PROLOGUE = "fx_pre/"
_CALIBRATION_ROWS = 8  # pictures in one calibrating run


def int8_file(digest: str) -> Path:
    """Return where the int8 copy with this SHA-256 is kept; it may be gone, as anything in the cache."""
    return cache_folder() / "int8" / f"{digest}.onnx"


def quantise(path: Path, images: np.ndarray) -> str:
    """Make an int8 copy of a backbone, keep it in the cache and return its SHA-256.

    Weights are quantised per channel, activations by the range that they take over `images`, uint8
    [n, height, width, 3]. The prologue, the first convolution and depthwise convolutions stay in fp32: they have few
    multiplications and lose most (EfficientNet-Lite0: mean cosine to fp32 0.978 with them, 0.992 without).
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    folder = cache_folder() / "int8"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.stem}.tmp"
    logging.disable(logging.WARNING)  # the quantiser advises on the root logger
    try:
        quantize_static(
            path,
            temporary,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # 7 bits: without VNNI the sum of two products of 8 bits overflows 16, and the same file runs anywhere.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_kept_in_fp32(path),
        )
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        temporary.replace(int8_file(digest))
    finally:
        logging.disable(logging.NOTSET)
        temporary.unlink(missing_ok=True)
    return digest


def _kept_in_fp32(path: Path) -> list[str]:
    import onnx

    nodes = onnx.load(path).graph.node
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    depthwise = [node for node in convolutions if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    prologue = [node for node in nodes if node.name.startswith(_PROLOGUE)]
    return [node.name for node in [*prologue, *convolutions[:1], *depthwise]]


class _Reader:
    """Hands the calibration pictures to the quantiser, which asks for `get_next` until it is None."""

    def __init__(self, images: np.ndarray) -> None:
        starts = range(0, len(images), _CALIBRATION_ROWS)
        self._feeds: Iterator[dict[str, Any]] = ({"images": images[i : i + _CALIBRATION_ROWS]} for i in starts)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)
