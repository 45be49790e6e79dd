"""Says what this machine gives the engine, what is wrong with it, and what to do about that."""

from __future__ import annotations

import ctypes
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fxengine.backbones import DEFAULT, DEFAULT_OF_TEXTS, load_backbone
from fxengine.cache import cache_folder, clean, sizes
from fxengine.decode import picture, preparer_of
from fxengine.errors import FxError, InputError, reason
from fxengine.execute import PRECISIONS, gpu, open_session, openvino, usable_cores
from fxengine.execute.cpus import processor
from fxengine.pipeline.rate import warm_rows_per_second

_SECONDS = 1.0  # that the model is timed for
_CUDA_LIBRARIES = {"CUDA runtime": ("libcudart.so.13", "libcudart.so.12"), "cuDNN": ("libcudnn.so.9",)}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: what was looked at.
        found: what is there.
        advice: what to do, or None where nothing is wrong.
    """

    what: str
    found: str
    advice: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What this machine gives the engine.

    Attributes:
        findings: what was looked at, and what is wrong with it.
    """

    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def doctor(*, clean_cache: bool = False) -> Diagnosis:
    """Look at processor, runtimes, GPUs, decoders, what texts need, and cache, and time one backbone.

    Args:
        clean_cache: look at the cache alone, and remove from it what only saves time: exports, copies of vectors,
            engines, logs. The int8 copies that stores were computed by stay, and the notes of what you named.
    """
    if clean_cache:
        return Diagnosis((_cache(remove=True),))
    return Diagnosis((*_system(), *_runtimes(), *_gpus(), *_decoders(), _texts(), _cache(), _export(), _timed()))


def _system() -> Iterator[Finding]:
    yield Finding("fxengine", f"{version('fxengine')} on Python {platform.python_version()}, {platform.platform()}")
    usable, there = usable_cores(), os.cpu_count() or 1
    advice = None
    if usable < there:
        advice = "affinity (taskset) or the container's cpu limit leaves fewer: raise it if that is not meant."
    yield Finding("cores", f"{usable} of {there} usable", advice)
    name, instructions, _ = processor()
    vector = [flag for flag in instructions.split() if flag.startswith(("avx2", "avx512", "avx_vnni", "amx", "asimd"))]
    yield Finding("processor", f"{name or 'unknown'}; {' '.join(vector) or 'no vector instructions known'}")


def _runtimes() -> Iterator[Finding]:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in both)
    advice = None
    if len(both) > 1:
        advice = (
            "both write into the same folder, and one has overwritten the other: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu."
        )
    yield Finding("ONNX Runtime", found or "not installed", advice if found else "pip install onnxruntime-gpu.")
    import onnxruntime

    for provider in onnxruntime.get_available_providers():
        problem = _start(provider)
        yield Finding(f"  {provider}", "starts" if problem is None else f"does not start: {problem}")
    precisions = [name for name in PRECISIONS if openvino.missing(name) is None]
    if precisions:
        yield Finding("OpenVINO", f"{version('openvino')}, computes in {', '.join(precisions)}")
    else:
        yield Finding("OpenVINO", "not installed", "pip install openvino: bf16 and int8 on CPUs.")


def _start(provider: str) -> str | None:
    """Return why a provider does not run a net of one node, or None where it does."""
    import onnxruntime
    from onnx import TensorProto, helper

    from fxengine.backbones.graph.model import make_model

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "one", [value], [result])
    model = make_model(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        data = model.SerializeToString()
        session = onnxruntime.InferenceSession(data, options, providers=[provider], enable_fallback=0)
    except Exception as error:
        return str(error).splitlines()[0]
    return None if session.get_providers()[0] == provider else f"{session.get_providers()[0]} took its place"


def _gpus() -> Iterator[Finding]:
    if not gpu.has_driver():
        yield Finding("NVIDIA driver", "not found: everything runs on the CPU")
        return
    yield Finding("NVIDIA GPUs", "; ".join(gpu.names()) or "a driver, but nvidia-smi lists no GPU")
    if _start("CUDAExecutionProvider") is None:
        return
    for what, names in _CUDA_LIBRARIES.items():
        there = [name for name in names if _loads(name)]
        advice = None if there else "pip install 'fxengine[cuda13]' (or cuda12 for an older driver)."
        yield Finding(f"  {what}", ", ".join(there) or "not found", advice)


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _decoders() -> Iterator[Finding]:
    libraries = picture.versions()
    found = ", ".join(f"{name} {number}" for name, number in libraries.items())
    slow = "cykooz-resizer" not in libraries
    yield Finding("decoders", found, "no SIMD resize here: Pillow resizes, several times slower." if slow else None)


def _texts() -> Finding:
    try:
        preparer = preparer_of(load_backbone(DEFAULT_OF_TEXTS))
    except InputError as error:
        return Finding("texts", f"cannot be embedded by {DEFAULT_OF_TEXTS}; pictures do not need it. {error}")
    return Finding("texts", f"by {DEFAULT_OF_TEXTS}, {preparer.decoder}")


def _cache(*, remove: bool = False) -> Finding:
    try:
        freed = clean() if remove else 0
        folder, taken = cache_folder(), sizes()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except InputError as error:
        return Finding("cache", "not safe", str(error))
    except OSError as error:
        return Finding(
            "cache",
            f"cannot be written: {reason(error)}; all works, and what it saves takes its time again",
            "set FXENGINE_CACHE to a folder that can.",
        )
    kinds = ", ".join(f"{kind} {_size(size)}" for kind, size in taken.items())
    size = _size(sum(taken.values())) + (f" ({kinds})" if kinds else "")
    done = f"{_size(freed)} freed; " if remove else ""
    return Finding("cache", f"{done}{folder}, {size}; deleting it loses only time")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count:,} bytes"


def _export() -> Finding:
    other = os.environ.get("FXENGINE_KERAS_PYTHON")
    if other:
        there = Path(other).exists()
        return Finding("Keras", f"by {other}", None if there else "FXENGINE_KERAS_PYTHON names no file.")
    if _version("tensorflow") and _version("tf2onnx"):
        return Finding("Keras", f"tensorflow {_version('tensorflow')}, tf2onnx {_version('tf2onnx')}")
    return Finding("Keras", "not installed; only exporting and training Keras nets needs it (fxengine[keras])")


def _timed() -> Finding:
    try:
        backbone = load_backbone(DEFAULT)
        session = open_session(backbone.path, streams=usable_cores())
    except FxError as error:
        return Finding("one timed batch", str(error), "see the findings above.")
    rate = warm_rows_per_second(session, preparer_of(backbone), _SECONDS)
    return Finding(
        "one timed batch",
        f"{DEFAULT} in {session.precision} on {session.provider}: {rate:.0f} images/s of the model alone",
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
