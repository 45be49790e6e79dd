"""The program that PyTorch exports nets in: `python torch_child.py JOB.json`. No part of the engine.

It may run in an environment that has no fxengine, and talks by files. JOB.json holds {"photos": .npy, "jobs": [...]};
each job names a folder, into which go, by the names of layout.py: the net, the reference (what PyTorch makes of photos,
or of token ids) and the answer ("ok" with what the makers say, or an error in words). Of a repository of transformers
the net is as the Hub has such files, by the names of its inputs and outputs.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch

# By its path: the folder must not be searched for modules.
layout, answer_file, photo_crops, torch_hf = (
    SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(f"{name}.py"))))
    for name in ("layout", "answer_file", "photo_crops", "torch_hf")
)
torch_nets = torch_hf.torch_nets

Job = dict[str, Any]
Refused = torch_nets.Refused
_LIBRARY = {"timm": "timm", "torchvision": "torchvision", "torch-hf": "transformers"}
# The newer exporter first; its own opset is 18, and the older one ends at 17.
RECIPES = (("torch.onnx.export by torch.export", True, 18), ("torch.onnx.export by tracing", False, 17))
_BATCH = 3  # of an example: an exporter takes 0 and 1 for constants


def main(path: Path) -> None:
    """Do every job; one that fails says so in its folder and stops no other."""
    torch.set_grad_enabled(False)
    order = json.loads(path.read_text())
    images = np.load(order["photos"])
    for job in order["jobs"]:
        folder = Path(job["folder"])
        answer_file.leave_answer(folder / layout.ANSWER, partial(run, job, images, folder), Refused)


def run(job: Job, images: np.ndarray, folder: Path, tried: list[str]) -> Job:
    """Build, convert and answer one job; a net that wants more memory than there is says how much it took."""
    begin = time.perf_counter()
    do = repository if job["kind"] == "torch-hf" else pictures
    try:
        said = do(job, images, folder, tried)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "Allocator" in str(error):
            raise Refused(f"it does not fit into memory: it had taken {peak_bytes() / 1e9:.1f} GB.") from error
        raise
    return {**said, **cost(job["kind"], begin)}


def cost(kind: str, begin: float) -> Job:
    """Return what a job took since `begin`, and by which versions it was done."""
    names = ("torch", "onnxscript", _LIBRARY[kind])
    took = {"seconds": round(time.perf_counter() - begin, 1), "peak_megabytes": round(peak_bytes() / 1e6)}
    return {**took, "versions": {name: version(name) for name in names}}


def pictures(job: Job, images: np.ndarray, folder: Path, tried: list[str]) -> Job:
    """Export a net of timm or torchvision: preprocessed pictures in, vectors out."""
    net = torch_nets.build(job)
    photos = photo_crops.crops(images, *net.size)
    ready = prepared(net.said["preprocessing"], photos)
    return {**net.said, **finish(net, photos, ready, folder, tried)}


def finish(net: torch.nn.Module, photos: np.ndarray, ready: np.ndarray, folder: Path, tried: list[str]) -> Job:
    """Write a net of pictures and the reference; return what the answer says of them."""
    made = outputs_of(net, (torch.from_numpy(ready),))
    names = ("pictures",)
    recipe = convert(net, (torch.from_numpy(ready[:_BATCH]),), names, net.outputs, folder / layout.NET, tried)
    np.savez(
        folder / layout.REFERENCE,
        allow_pickle=False,
        photos=photos,
        preprocessed=ready,
        **dict(zip(net.outputs, made, strict=True)),
    )
    return {"size": list(net.size), "cut": net.cut, "recipe": recipe}


def repository(job: Job, images: np.ndarray, folder: Path, tried: list[str]) -> Job:
    """Export a repository's net, or one of its towers."""
    return finish_repository(torch_hf.build(job), images, folder, tried)


def finish_repository(net: torch.nn.Module, images: np.ndarray, folder: Path, tried: list[str]) -> Job:
    """Write a net of `torch_hf.build`, what transformers takes in and gives out; return what the answer says."""
    given = net.examples(photo_crops.crops(images, *net.size) if net.size is not None else None)
    try:
        made = outputs_of(net, tuple(given.values()))
    except (TypeError, ValueError, RuntimeError) as error:
        raise Refused(f"transformers does not run it on {', '.join(given)} alone ({error}).") from error
    example = tuple(value[:_BATCH] for value in given.values())
    recipe = convert(net, example, tuple(given), net.outputs, folder / layout.NET, tried)
    arrays = {f"in:{name}": value.numpy() for name, value in given.items()}
    arrays |= {f"out:{name}": value for name, value in zip(net.outputs, made, strict=True)}
    np.savez(folder / layout.REFERENCE, allow_pickle=False, **arrays)
    return {"recipe": recipe}


def prepared(said: Mapping[str, Any], photos: np.ndarray) -> np.ndarray:
    """Return photos as a net takes them, float32 [n, 3, height, width]."""
    values = (photos.astype(np.float32) / 255 - np.float32(said["mean"])) / np.float32(said["std"])
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)


def outputs_of(net: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Return what a net gives, one output after the other."""
    made = net(*inputs)
    return [value.float().numpy() for value in (made if isinstance(made, tuple) else (made,))]


def convert(
    net: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
    tried: list[str],
) -> str:
    """Write the ONNX file by the first recipe that works, and return that recipe."""
    failures = []
    for way, new, opset in RECIPES:
        tried.append(f"{way} (opset {opset})")
        try:
            (by_export if new else by_tracing)(net, example, list(inputs), list(outputs), path, opset)
            check(onnx.load(path))
            return tried[-1]
        except Exception as error:
            traceback.print_exc()
            failures.append(f"{tried[-1]}: {reason(error)}")
            path.unlink(missing_ok=True)
    raise RuntimeError("; ".join(failures))


def reason(error: BaseException) -> str:
    """Return what went wrong at first, in a line: the exporter wraps that into advice for programmers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def check(model: onnx.ModelProto) -> None:
    """Raise ValueError where a file has operators that are not ONNX's own, or that see other rows of the batch."""
    onnx.checker.check_model(model)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in ("", "ai.onnx")})
    foreign += ["DynamicQuantizeLinear"] if any(node.op_type == "DynamicQuantizeLinear" for node in nodes) else []
    if foreign:
        raise ValueError(f"the file has the operators {', '.join(foreign[:5])}")


def by_export(
    net: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
    opset: int,
) -> None:
    """Export by torch.export; dimensions that are open are those of the batch, and of texts the length."""
    torch.onnx.export(
        net,
        example,
        path,
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=(tuple(map(open_dimensions, example)),),  # of *inputs
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def by_tracing(
    net: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
    opset: int,
) -> None:
    """Export by tracing TorchScript."""
    axes = {name: open_dimensions(value) for name, value in zip(inputs, example, strict=True)}
    torch.onnx.export(
        net,
        example,
        path,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes={**axes, **{name: {0: "batch"} for name in outputs}},
        opset_version=opset,
        dynamo=False,
    )


def open_dimensions(value: torch.Tensor) -> dict[int, str]:
    """Return the open dimensions of an input: token ids and their mask are as long as the longest text."""
    return {0: "batch"} if value.ndim == 4 else {0: "batch", 1: "length"}


def peak_bytes() -> int:
    """Return the bytes of memory that this process took at most; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(Path(sys.argv[1]))
