"""Static int8: a copy of a backbone whose convolutions compute in 8 bits, calibrated on the user's own pictures."""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fxengine.backbones.spec import EPILOGUE, PROLOGUE
from fxengine.cache import find, kind_folder
from fxengine.errors import DeviceError, explained, reason
from fxengine.files import replacing

_STRIDE = 4  # pictures whose activations the quantiser holds at once


def int8_file(digest: str) -> Path | None:
    """Return the int8 copy with this SHA-256, None where it is not in the cache any more.

    Raises:
        DeviceError: it is no SHA-256.
    """
    if not re.fullmatch("[0-9a-f]{64}", digest):  # a store says it: it could be a path to anywhere
        raise DeviceError(f"There is no int8 copy {digest[:80]!r}: a store names one by its SHA-256.")
    return find(f"int8/{digest}.onnx")


def quantise(path: Path, inputs: Mapping[str, np.ndarray]) -> str:
    """Make an int8 copy of a backbone, keep it in the cache and return its SHA-256.

    Weights are quantised per channel, activations by the range that they take over the inputs, name -> array [n, ...],
    n at least 4. The prologue, the first convolution and depthwise convolutions stay in fp32:
    they have few multiplications and lose most (EfficientNet-Lite0: mean cosine to fp32 0.978 with them, 0.992
    without).

    Raises:
        DeviceError: the quantiser cannot take this net, or the cache cannot hold the copy, which who goes on with the
            vectors needs.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    logging.disable(logging.WARNING)  # the quantiser advises on the root logger
    try:
        with tempfile.TemporaryDirectory(prefix="fxengine-int8-") as folder:
            made = Path(folder) / "int8.onnx"
            quantize_static(
                path,
                made,
                _Reader(inputs),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                # 7 bits: without VNNI the sum of two products of 8 bits overflows 16, and the same file runs anywhere.
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=_kept_in_fp32(path),
                extra_options={"CalibStridedMinMax": _STRIDE},  # else it holds those of all pictures: a gigabyte
            )
            data = made.read_bytes()
    except Exception as error:  # the quantiser has no class of its own for what it cannot do
        raise DeviceError(f"No int8 copy of {path} can be made: {reason(error)}") from error
    finally:
        logging.disable(logging.NOTSET)
    digest = hashlib.sha256(data).hexdigest()
    with (
        explained("int8 needs a cache that can be written to", "Set FXENGINE_CACHE to another folder.", DeviceError),
        replacing(kind_folder("int8") / f"{digest}.onnx") as temporary,
    ):
        temporary.write_bytes(data)
    return digest


def _kept_in_fp32(path: Path) -> list[str]:
    import onnx

    nodes = onnx.load(path).graph.node
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    depthwise = [node for node in convolutions if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    prologue = [node for node in nodes if node.name.startswith((PROLOGUE, EPILOGUE))]
    return [node.name for node in [*prologue, *convolutions[:1], *depthwise]]


class _Reader:
    """Hands the calibration inputs to the quantiser, a range of rows at a time, one by one until None."""

    def __init__(self, inputs: Mapping[str, np.ndarray]) -> None:
        self._inputs = inputs
        self._rows = min(map(len, inputs.values())) // _STRIDE * _STRIDE
        self._following: Iterator[int] = iter(())

    def __len__(self) -> int:
        return self._rows

    def set_range(self, start_index: int, end_index: int) -> None:
        self._following = iter(range(self._rows)[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self._following, None)
        return None if row is None else {name: values[row : row + 1] for name, values in self._inputs.items()}
