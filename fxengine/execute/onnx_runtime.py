"""Runs a backbone by ONNX Runtime on CPU, CUDA or TensorRT."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from fxengine.errors import DeviceError, InputError

NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_INSTALL_GPU = "pip install 'fxengine[cuda13]' and an NVIDIA driver that has CUDA 13"


@dataclass
class Session:
    """A loaded backbone.

    Attributes:
        provider: the provider that really runs the graph, read back after it was loaded.
        precision: what it computes in.
        engine: runtime and version.
        outputs: names of the graph's outputs.
        batch_size: rows of the compiled shape beside 1.
        streams: how many threads should call `run` at once to use the whole device.
    """

    provider: str
    precision: str
    engine: str
    outputs: tuple[str, ...]
    batch_size: int
    streams: int
    _session: Any

    def run(self, images: np.ndarray, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return output name -> float32 [n, dim], rows in the order of `images`, uint8 [n, height, width, 3].

        Only two shapes ever reach the runtime, `batch_size` rows and 1 row: a short batch is padded and cut.
        """
        names = list(outputs or self.outputs)
        if not len(images):
            one = self.run(np.zeros((1, *images.shape[1:]), np.uint8), names)
            return {name: values[:0] for name, values in one.items()}
        parts = [
            self._run_padded(images[i : i + self.batch_size], names) for i in range(0, len(images), self.batch_size)
        ]
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}

    def _run_padded(self, images: np.ndarray, names: list[str]) -> list[np.ndarray]:
        count = len(images)
        if count not in (1, self.batch_size):
            padded = np.zeros((self.batch_size, *images.shape[1:]), np.uint8)
            padded[:count] = images
            images = padded
        results: list[np.ndarray] = self._session.run(names, {"images": images})
        return [result[:count] for result in results]

    def close(self) -> None:
        """Free the model's memory."""
        self._session = None


def open_session(path: Path, device: str, batch_size: int, cores: int, streams: int = 1) -> Session:
    """Load a backbone file.

    Args:
        path: a backbone file.
        device: "auto", "cpu", "cuda" or "tensorrt"; "auto" takes CUDA where it really starts, else the CPU.
        batch_size: rows of the compiled shape beside 1.
        cores: cores to use on the CPU, shared out evenly among the streams.
        streams: runs at once on the CPU; a GPU has one.

    Raises:
        DeviceError: the device was asked for by name and does not start here.
        InputError: the device is none of these, or the file cannot be loaded.
    """
    if device not in (*NAMES, "auto"):
        raise InputError(f"There is no device {device!r}. Available: auto, {', '.join(NAMES)}.")
    threads = max(1, cores // streams)
    available = ort.get_available_providers()
    if device == "auto":
        session = _try_cuda(path, threads) if NAMES["cuda"] in available and has_nvidia_driver() else None
        return _wrap(session or _load(path, "cpu", threads), batch_size, streams)
    if NAMES[device] not in available:
        raise DeviceError(
            f"ONNX Runtime {ort.__version__} here has no {NAMES[device]}. For an NVIDIA GPU: {_INSTALL_GPU}."
        )
    try:
        session = _load(path, device, threads)
    except InputError as error:
        _load(path, "cpu", threads)  # a file that cannot be loaded anywhere is another mistake
        raise DeviceError(f"--device {device} does not start: {error} It needs {_INSTALL_GPU}.") from error
    if session.get_providers()[0] != NAMES[device]:
        raise DeviceError(
            f"--device {device} was asked for, but ONNX Runtime could only start {session.get_providers()[0]}. "
            f"It needs {_INSTALL_GPU}. `--device auto` goes on without."
        )
    return _wrap(session, batch_size, streams)


def has_nvidia_driver() -> bool:
    """Tell whether the NVIDIA driver is there, so that "auto" need not try and fail aloud without one."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _try_cuda(path: Path, threads: int) -> Any:
    try:
        session = _load(path, "cuda", threads)
    except InputError:
        return None
    return session if session.get_providers()[0] == NAMES["cuda"] else None


def _wrap(session: Any, batch_size: int, streams: int) -> Session:
    provider = session.get_providers()[0]
    return Session(
        provider=provider,
        precision="fp32",
        engine=f"onnxruntime {version(_distribution())}",
        outputs=tuple(output.name for output in session.get_outputs()),
        batch_size=batch_size,
        streams=streams if provider == NAMES["cpu"] else 1,
        _session=session,
    )


def _distribution() -> str:
    try:
        version("onnxruntime-gpu")
        return "onnxruntime-gpu"
    except PackageNotFoundError:
        return "onnxruntime"


def _load(path: Path, device: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is read back and said in our own words
    options.intra_op_num_threads = threads
    # Decoders share the cores with the model: a thread that spins while it waits takes one from them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device != "cpu" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds CUDA and cuDNN where pip put them
    chain = [
        NAMES[device],
        *([NAMES["cuda"]] if device == "tensorrt" else []),
        *([NAMES["cpu"]] if device != "cpu" else []),
    ]
    try:
        # Pad_Fusion (seen in 1.31.1) folds a Pad with zeros into a MaxPool, which pads with minus infinity: ResNet V2
        # nets came out 63% wrong.
        return ort.InferenceSession(str(path), options, providers=chain, disabled_optimizers=["Pad_Fusion"])
    except Exception as error:
        raise InputError(f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0]}") from error
