"""Runs a backbone by ONNX Runtime on CPU, CUDA or TensorRT."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime as ort

from fxengine.backbones.spec import METADATA_KEY, Facts, TextRecipe
from fxengine.errors import DeviceError, InputError, one_of, reason
from fxengine.execute import gpu
from fxengine.execute.session import CPU_BATCH, GPU_BATCH, Session
from fxengine.execute.shapes import CPU_TOKENS, GPU_TOKENS, WORDS_TOKENS, takes_texts, tokens_of_a_run

NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_INSTALL_GPU = "pip install 'fxengine[cuda13]' and an NVIDIA driver that has CUDA 13"


def open_session(
    path: Path, device: str, batch_size: int | None, cores: int, streams: int = 1, precision: str = "fp32"
) -> Session:
    """Load a backbone file.

    Args:
        path: a backbone file.
        device: "auto", "cpu", "cuda" or "tensorrt"; "auto" takes CUDA where it really starts, else the CPU.
        batch_size: see `fxengine.execute.open_session`.
        cores: cores to use on the CPU, shared out evenly among the streams.
        streams: runs at once on the CPU; of GPUs, all that are visible get one each.
        precision: "fp32", or on a GPU "fp16".

    Raises:
        DeviceError: the device was asked for by name and does not start here, or has no such precision.
        InputError: the device is none of these, or the file cannot be loaded.
    """
    one_of("device", device, ("auto", *NAMES))
    available = ort.get_available_providers()
    if device == "auto":
        if may_have_cuda():
            try:
                return _open_gpu(path, "cuda", batch_size, precision)
            except (DeviceError, InputError):
                pass  # the driver is there, the rest is not: the CPU is what "auto" falls back to
        device = "cpu"
    if NAMES[device] not in available:
        raise DeviceError(
            f"ONNX Runtime {ort.__version__} here has no {NAMES[device]}. For an NVIDIA GPU: {_INSTALL_GPU}."
        )
    if device != "cpu":
        return _open_gpu(path, device, batch_size, precision)
    if precision != "fp32":
        raise DeviceError(f"ONNX Runtime computes in fp32 on a CPU, not in {precision}.")
    session = _load(path, _options(max(1, cores // streams)), [NAMES["cpu"]])
    texts = takes_texts({value.name for value in session.get_inputs()})
    usual = WORDS_TOKENS if _only_looks_up(session) else CPU_TOKENS
    size = tokens_of_a_run(batch_size, usual) if texts else batch_size or CPU_BATCH
    return _wrap(session, session, size, streams, precision)


def _only_looks_up(session: Any) -> bool:
    """Tell whether a net takes next to no time for a token: vectors of words, or a small net over them."""
    told = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if told is None:
        return False
    facts = Facts.from_json(told)
    return facts.multiply_adds == 0 or (isinstance(facts.recipe, TextRecipe) and facts.recipe.kind == "words")


def may_have_cuda() -> bool:
    """Tell whether "auto" tries CUDA: this build of ONNX Runtime has it, and there is a driver."""
    return NAMES["cuda"] in ort.get_available_providers() and gpu.has_driver()


def _open_gpu(path: Path, device: str, batch_size: int | None, precision: str) -> Session:
    """Load the file on every visible GPU; raises DeviceError where the device does not start."""
    texts = takes_texts(gpu.input_shapes(path))
    if texts and device == "tensorrt":
        raise DeviceError("TensorRT builds an engine for every length of a text: give `device` cuda.")
    batch_size = tokens_of_a_run(batch_size, GPU_TOKENS) if texts else batch_size or GPU_BATCH
    if precision not in ("fp32", "fp16"):
        raise DeviceError(f"On a GPU there are fp32 and fp16, not {precision}.")
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds CUDA and cuDNN where pip put them
    file = gpu.half_precision_file(path) if precision == "fp16" else path
    runners = []
    for number in range(gpu.count()):
        providers = gpu.providers(device, number, file, batch_size, precision)
        try:
            session = _load(file, _options(1), providers)
        except InputError as error:
            _load(path, _options(1), [NAMES["cpu"]])  # a file that cannot be loaded anywhere is another mistake
            raise DeviceError(f"`device` {device} does not start: {error} It needs {_INSTALL_GPU}.") from error
        if session.get_providers()[0] != NAMES[device]:
            raise DeviceError(
                f"`device` {device} was asked for, but ONNX Runtime could only start {session.get_providers()[0]}. "
                f"It needs {_INSTALL_GPU}. `device` auto goes on without."
            )
        runners.append(gpu.Runner(session, number))
    return _wrap(runners[0].session, gpu.Pool(runners), batch_size, len(runners), precision)


def _wrap(session: Any, runs: Any, batch_size: int, streams: int, precision: str) -> Session:
    return Session(
        provider=session.get_providers()[0],
        precision=precision,
        engine=f"onnxruntime {version(_distribution())}",
        outputs=tuple(output.name for output in session.get_outputs()),
        batch_size=batch_size,
        streams=streams,
        runner=runs,
    )


def _distribution() -> str:
    try:
        version("onnxruntime-gpu")
        return "onnxruntime-gpu"
    except PackageNotFoundError:
        return "onnxruntime"


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is read back and said in our own words
    options.intra_op_num_threads = threads
    # Decoders share the cores with the model: a thread that spins while it waits takes one from them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # It is kept for every shape, and texts have hundreds: 55 MB of 267 after 600 runs, and growing, for no speed.
    options.enable_mem_pattern = False
    return options


def _load(path: Path, options: Any, providers: list[Any]) -> Any:
    try:
        # Exports of earlier versions have Pads that Pad_Fusion breaks: see backbones/graph/pads.py.
        return ort.InferenceSession(
            str(path), options, providers=providers, disabled_optimizers=["Pad_Fusion"], enable_fallback=0
        )
    except Exception as error:
        raise InputError(f"ONNX Runtime cannot load {path}: {reason(error)}") from error
