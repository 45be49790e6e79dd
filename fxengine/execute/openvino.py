"""Runs a backbone by OpenVINO on CPUs: in bf16 or fp16 where the processor has them, in int8, and in fp32."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.errors import DeviceError, InputError, is_foreign, reason
from fxengine.execute.session import CPU_BATCH, Session
from fxengine.execute.shapes import CPU_TOKENS, takes_texts, tokens_of_a_run

PROVIDER = "OpenVINO CPU"
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}  # an int8 file says itself what is int8
_NEEDS = {"bf16": "BF16", "fp16": "FP16"}
_INSTRUCTIONS = {"bf16": "AVX512-BF16 or AMX", "fp16": "AMX-FP16 or AVX512-FP16"}


def open_session(
    path: Path, device: str, batch_size: int | None, cores: int, streams: int = 1, precision: str = "fp32"
) -> Session:
    """Load a backbone file; the arguments are those of `onnx_runtime.open_session`.

    Raises:
        DeviceError: OpenVINO is not installed, the device is not the CPU, or the CPU has no such precision.
        InputError: the file cannot be loaded.
    """
    if device not in ("cpu", "auto"):
        raise DeviceError(f"OpenVINO runs on the CPU here, not on {device!r}: use `device` cpu.")
    problem = missing(precision)
    if problem is not None:
        raise DeviceError(problem)
    model = _Model(path, batch_size, max(cores, streams), streams, precision)
    return Session(
        provider=PROVIDER,
        precision=precision,
        engine=f"openvino {version('openvino')}",
        outputs=model.outputs,
        batch_size=model.batch_size,
        streams=streams,
        runner=model,
    )


@cache
def missing(precision: str) -> str | None:
    """Return why this machine cannot compute in `precision` by OpenVINO, or None where it can."""
    try:
        version("openvino")
    except PackageNotFoundError:
        return (
            f"Precision {precision} needs OpenVINO: pip install openvino (it has wheels for x86-64 and Apple silicon)."
        )
    try:
        import openvino

        there = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except Exception as error:
        if not is_foreign(error):
            raise
        return f"Precision {precision} needs OpenVINO, which does not start here: {reason(error)}"
    if precision in _NEEDS and _NEEDS[precision] not in there:
        return f"This processor does not compute in {precision}: it has no {_INSTRUCTIONS[precision]}."
    return None


class _Model:
    """A net compiled for two batch sizes, or for texts of any length, with the call of ONNX Runtime's session.

    Any thread may call it.
    """

    def __init__(self, path: Path, batch_size: int | None, threads: int, streams: int, precision: str) -> None:
        import openvino

        openvino.Type.u8.to_dtype()  # two threads that make its first one at once wait for each other for ever
        self._settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": str(streams),
            # Decoders share the cores with the model: its threads must be free to move.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._core = openvino.Core()
            self._model = self._core.read_model(path)
            self.outputs = tuple(output.get_any_name() for output in self._model.outputs)
            self._texts = takes_texts({port.get_any_name() for port in self._model.inputs})
            self.batch_size = tokens_of_a_run(batch_size, CPU_TOKENS) if self._texts else batch_size or CPU_BATCH
            first = self._shape(self.batch_size)
            self._compiled = {first: self._compile(first)}
        except InputError:
            raise
        except Exception as error:
            *_, why = ["no reason given", *str(error).strip().splitlines()]  # the last line says it
            raise InputError(f"OpenVINO cannot load {path}: {why}") from error
        self._compiling = threading.Lock()
        self._local = threading.local()

    def _shape(self, rows: int) -> int:
        """Return the rows of the shape to compile; 0, for any, where a net has as many shapes as texts have lengths."""
        return 0 if self._texts else rows

    def _compile(self, rows: int) -> Any:
        if not rows:
            return self._core.compile_model(self._model, "CPU", self._settings)
        copied = self._model.clone()
        # What is open beside the rows stays open.
        copied.reshape({port.get_any_name(): [rows, *list(port.partial_shape)[1:]] for port in copied.inputs})
        return self._core.compile_model(copied, "CPU", self._settings)

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs `names`, float32 [rows, dim] each."""
        request = self._request(self._shape(len(next(iter(feeds.values())))))
        request.infer(dict(feeds), share_inputs=True)
        return [request.get_tensor(name).data.astype(np.float32) for name in names]

    def _request(self, rows: int) -> Any:
        """Return this thread's request: two threads in one would wait for each other."""
        with self._compiling:
            if rows not in self._compiled:
                self._compiled[rows] = self._compile(rows)
        if not hasattr(self._local, "requests"):
            self._local.requests = {}
        mine: dict[int, Any] = self._local.requests
        if rows not in mine:
            mine[rows] = self._compiled[rows].create_infer_request()
        return mine[rows]
