"""NVIDIA GPUs under ONNX Runtime: which there are, how its providers are set, and batches that stay in place."""

from __future__ import annotations

import ctypes
import hashlib
import queue
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones.spec import EPILOGUE, PROLOGUE
from fxengine.cache import find, keep, working_folder
from fxengine.errors import DeviceError, reason
from fxengine.execute.shapes import takes_texts

_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "cudaerrormemoryallocation", "bad allocation")


def has_driver() -> bool:
    """Tell whether the NVIDIA driver is there, so that "auto" need not try and fail aloud without one."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def names() -> list[str]:
    """Return "model, driver version" of every GPU that nvidia-smi lists; empty where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def count() -> int:
    """Return how many GPUs this process sees (`CUDA_VISIBLE_DEVICES` is obeyed); at least 1, so that one is tried."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        number = ctypes.c_int(0)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(number)) == 0:
            return max(1, number.value)
    except OSError:
        pass
    return 1


def providers(
    device: str, number: int, file: Path, rows: int, precision: str
) -> list[str | tuple[str, dict[str, str]]]:
    """Return ONNX Runtime's providers for GPU `number`, with their options.

    Args:
        device: "cuda" or "tensorrt".
        number: of the GPU.
        file: the model.
        rows: of the compiled batch.
        precision: "fp32" or "fp16".
    """
    cuda = {
        "device_id": str(number),
        # Tuned once for each of our two shapes; the exhaustive search, the default, costs far more and gains nothing
        # (PaddleX#5057).
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        # TF32 keeps 10 bits of a mantissa: that is not fp32.
        "use_tf32": "0",
        "prefer_nhwc": "1" if precision == "fp16" else "0",
    }
    chain: list[str | tuple[str, dict[str, str]]] = [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
    if device == "tensorrt":
        chain.insert(0, ("TensorrtExecutionProvider", _tensorrt(number, file, rows, precision)))
    return chain


def _tensorrt(number: int, file: Path, rows: int, precision: str) -> dict[str, str]:
    cache = str(engine_folder(number, file, rows, precision))
    shapes = input_shapes(file)
    largest = _profile(shapes, rows)
    return {
        "device_id": str(number),
        "trt_fp16_enable": "1" if precision == "fp16" else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
        "trt_profile_min_shapes": _profile(shapes, 1),
        "trt_profile_opt_shapes": largest,
        "trt_profile_max_shapes": largest,
    }


def _profile(shapes: Mapping[str, tuple[int, ...]], rows: int) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, (rows, *shape)))}" for name, shape in shapes.items())


def engine_folder(number: int, file: Path, rows: int, precision: str) -> Path:
    """Return where TensorRT keeps its engines: one folder for each model, batch, precision, GPU and set of versions."""
    gpus = names()
    libraries = [f"{name} {_version(name)}" for name in ("onnxruntime-gpu", "tensorrt", "tensorrt-cu12")]
    model = hashlib.sha256(file.read_bytes()).hexdigest()
    key = [model, rows, precision, gpus[number] if number < len(gpus) else "", *libraries]
    return working_folder(f"tensorrt/{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def input_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return each input of a backbone file with the shape of one row of it, 0 for an axis that is open."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return {value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim[1:]) for value in graph.input}


def half_precision_file(path: Path) -> Path:
    """Return the backbone computed in fp16, made once and kept in the cache; its input and outputs stay as they are.

    Raises:
        DeviceError: the converter cannot take this net.
    """
    import onnx

    data = path.read_bytes()
    name = f"fp16/{hashlib.sha256(data).hexdigest()}.onnx"
    found = find(name)
    if found is not None:
        return found
    try:
        made = _to_half(onnx.load_model_from_string(data)).SerializeToString()
    except Exception as error:  # the converter has no class of its own for what it cannot do
        raise DeviceError(f"No fp16 copy of {path} can be made: {reason(error)}") from error
    return keep(name, lambda path: path.write_bytes(made))


def _to_half(model: Any) -> Any:
    """Return the net in fp16 behind its prologue in fp32: pixel levels less their mean lose bits in fp16."""
    from onnx import TensorProto, helper
    from onnxruntime.transformers.float16 import convert_float_to_float16

    if takes_texts({value.name for value in model.graph.input}):
        return _net_of_texts_to_half(model)
    images = helper.make_tensor_value_info("", 0, None)
    images.CopyFrom(model.graph.input[0])
    prologue = [node for node in model.graph.node if node.name.startswith(PROLOGUE)]
    weights = [tensor for tensor in model.graph.initializer if tensor.name.startswith(PROLOGUE)]
    for node in prologue:
        model.graph.node.remove(node)
    for tensor in weights:
        model.graph.initializer.remove(tensor)
    taken = helper.make_tensor_value_info(prologue[-1].output[0], TensorProto.FLOAT, None)
    del model.graph.input[:]
    model.graph.input.append(taken)
    half = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    net = sorted(half.graph.node, key=lambda node: taken.name not in node.input)  # the converter adds its cast last
    del half.graph.input[:], half.graph.node[:]
    half.graph.input.append(images)
    half.graph.node.extend([*prologue, *net])
    half.graph.initializer.extend(weights)
    return half


def _net_of_texts_to_half(model: Any) -> Any:
    """Return a net of texts in fp16, but for its prologue and its epilogue: the mean over the tokens stays in fp32.

    The converter would take them, too, but gives what it adds around nodes of fp32 in no order.
    """
    from onnx import TensorProto, helper
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph, outputs = model.graph, list(model.graph.output)
    head = [node for node in graph.node if node.name.startswith(PROLOGUE)]
    tail = [node for node in graph.node if node.name.startswith(EPILOGUE)]
    weights = [tensor for tensor in graph.initializer if tensor.name.startswith((PROLOGUE, EPILOGUE))]
    net = [node for node in graph.node if not node.name.startswith((PROLOGUE, EPILOGUE))]
    taken = {name for node in tail for name in node.input} & {name for node in net for name in node.output}
    del graph.node[:], graph.output[:]
    graph.node.extend(net)
    for tensor in weights:
        graph.initializer.remove(tensor)
    made = {name for node in tail for name in node.output}
    graph.output.extend(value for value in outputs if value.name not in made)
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sorted(taken))
    half = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    nodes = [*head, *half.graph.node, *tail]
    del half.graph.node[:], half.graph.output[:]
    half.graph.node.extend(nodes)
    half.graph.output.extend(outputs)
    half.graph.initializer.extend(weights)
    return half


class Runner:
    """One GPU's session, fed from page-locked memory where ONNX Runtime lends it; one thread at a time."""

    def __init__(self, session: Any, number: int) -> None:
        self.session = session
        self._number = number
        self._pinned: dict[tuple[str, tuple[int, ...]], Any] = {}

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs `names`; raises MemoryError where the GPU's memory is too small for the batch."""
        try:
            binding = self.session.io_binding()
            for name, values in feeds.items():
                binding.bind_ortvalue_input(name, self._staged(name, values))
            for name in names:
                binding.bind_output(name)  # to the CPU: vectors are small
            self.session.run_with_iobinding(binding)
            results: list[np.ndarray] = binding.copy_outputs_to_cpu()
        except Exception as error:
            if any(mark in str(error).lower() for mark in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from error
            raise
        return results

    def _staged(self, name: str, values: np.ndarray) -> Any:
        """Return an input's batch in a buffer that is used again for every batch of its shape."""
        import onnxruntime as ort

        key = name, values.shape
        if key not in self._pinned:
            memory = _page_locked_memory(self._number)
            if memory is None:
                return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values))
            self._pinned[key] = ort.OrtValue.ortvalue_from_shape_and_type(
                values.shape, values.dtype.type, memory_info=memory
            )
        staged = self._pinned[key]
        staged.update_inplace(np.ascontiguousarray(values))
        return staged


@cache
def _page_locked_memory(number: int) -> Any:
    """Return ONNX Runtime's description of host memory that GPU `number` copies from directly, or None."""
    import onnxruntime as ort

    if not hasattr(ort, "get_ep_devices"):
        return None
    devices = [device for device in ort.get_ep_devices() if device.ep_name == "CUDAExecutionProvider"]
    if number >= len(devices):
        return None
    return devices[number].memory_info(ort.OrtDeviceMemoryType.HOST_ACCESSIBLE)


class Pool:
    """Several GPUs behind one call: whoever calls gets the one that is free."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        self._free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        for runner in runners:
            self._free.put(runner)

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the batch on a free GPU, waiting for one."""
        runner = self._free.get()
        try:
            return runner.run(names, feeds)
        finally:
            self._free.put(runner)
