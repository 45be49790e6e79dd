"""Execution: a batch of inputs in, float32 vectors out. Passive: no Python thread is started here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fxengine.errors import at_least, one_of
from fxengine.execute.cpus import usable_cores

if TYPE_CHECKING:
    from fxengine.execute.session import Session

__all__ = [
    "DEVICES",
    "PRECISIONS",
    "RUNTIMES",
    "Runtime",
    "Way",
    "load_runtime",
    "open_session",
    "runtime_for",
    "runtime_versions",
    "usable_cores",
    "ways",
]

# To add a runtime: write execute/<runtime>.py with open_session, name it here, and where it is worth trying add a line
# to `ways`.
RUNTIMES = {"onnxruntime": "fxengine.execute.onnx_runtime", "openvino": "fxengine.execute.openvino"}
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
DEVICES = ("auto", "cpu", "cuda", "tensorrt")


class Runtime(Protocol):
    """A module of `RUNTIMES`."""

    def open_session(
        self, path: Path, device: str, batch_size: int | None, cores: int, streams: int = 1, precision: str = "fp32"
    ) -> Session:
        """Load a backbone file; see `fxengine.execute.open_session`. `cores` are shared out among the streams.

        What the file takes, pictures or texts, it says by its inputs.
        """


@dataclass(frozen=True)
class Way:
    """One way to run a backbone.

    Attributes:
        runtime: a name in `RUNTIMES`.
        precision: a name in `PRECISIONS`.
        streams: runs at once.
    """

    runtime: str
    precision: str
    streams: int


def ways(on_gpu: bool, modality: str = "picture") -> tuple[Way, ...]:
    """Return the ways that are worth trying, what may gain most first, behind the reference, fp32 by ONNX Runtime.

    Texts are always run on a core each: over several, what a text becomes would depend on how many there are. Their
    nets are not tried in int8, which they do not bear (all-MiniLM-L6-v2: docs/texts.md).
    """
    if on_gpu:
        return Way("onnxruntime", "fp32", 1), Way("onnxruntime", "fp16", 1)
    cores = usable_cores()
    if modality == "text":
        pairs = (("onnxruntime", "fp32"), ("openvino", "bf16"), ("openvino", "fp16"), ("openvino", "fp32"))
        return tuple(Way(runtime, precision, cores) for runtime, precision in pairs)
    return (
        Way("onnxruntime", "fp32", cores),
        Way("openvino", "bf16", cores),
        Way("openvino", "fp16", cores),
        Way("openvino", "int8", cores),  # before the last two are loaded: making its file takes memory
        Way("openvino", "fp32", cores),
        Way("openvino", "fp32", 1),
    )


def open_session(
    path: Path,
    device: str = "auto",
    batch_size: int | None = None,
    streams: int = 1,
    *,
    precision: str = "fp32",
    runtime: str | None = None,
) -> Session:
    """Load a backbone file on every usable core, or on every GPU.

    By default one run uses all cores, which answers a single query soonest; `streams` as many as cores finishes
    many pictures soonest (6% more a second on two cores: nothing waits for the slower half of an operator).

    Args:
        path: a backbone file; for int8 its quantised copy.
        device: "auto", "cpu", "cuda" or "tensorrt"; "auto" takes CUDA where it really starts, else the CPU.
        batch_size: rows of the compiled shape beside 1; 4 on a CPU and 128 on a GPU unless given. Of a text backbone,
            tokens of a run; 128 on a CPU and 16,384 on a GPU unless given.
        streams: runs at once on a CPU.
        precision: one of `PRECISIONS`.
        runtime: one of `RUNTIMES`; the one that has the precision on the device unless given.

    Raises:
        DeviceError: the device does not start here, or has no such precision.
        InputError: an option is none of these, or the file cannot be loaded.
    """
    one_of("precision", precision, PRECISIONS)
    one_of("device", device, DEVICES)
    if batch_size is not None:
        at_least("batch_size", batch_size, 1)
    loaded = load_runtime(runtime or runtime_for(precision, device))
    return loaded.open_session(path, device, batch_size, usable_cores(), streams, precision)


def load_runtime(name: str) -> Runtime:
    """Return the runtime called `name`, one of `RUNTIMES`."""
    module: Runtime = import_module(RUNTIMES[name])
    return module


def runtime_versions() -> list[str]:
    """Return the installed distributions of the runtimes with their versions."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu", "openvino"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found


def runtime_for(precision: str, device: str) -> str:
    """Return the runtime that has a precision: ONNX Runtime in fp32 and wherever a GPU may be used, else OpenVINO."""
    from fxengine.execute import onnx_runtime

    on_gpu = device in ("cuda", "tensorrt") or (device == "auto" and onnx_runtime.may_have_cuda())
    return "onnxruntime" if precision == "fp32" or on_gpu else "openvino"
