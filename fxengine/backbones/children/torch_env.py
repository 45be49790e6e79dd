"""The environment that PyTorch runs in: which interpreter, what is installed there, and its export program."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fxengine.backbones.children import framework
from fxengine.backbones.children.framework import Framework
from fxengine.backbones.children.process import Program
from fxengine.errors import InputError

CHILD = Path(__file__).with_name("torch_child.py")
_NAMES = Path(__file__).with_name("torch_names.py")
_MODULES = ("torch", "onnxscript", "safetensors")
_CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH = Framework(
    name="PyTorch",
    what="A net of PyTorch",
    log="torch",
    variable="FXENGINE_TORCH_PYTHON",
    modules=_MODULES,
    install=f"pip install 'fxengine[torch]' (with {_CPU} a build for the processor alone, of a tenth of the size)",
    install_there=f"torch torchvision timm transformers onnxscript safetensors ({_CPU})",
    environment=(("HF_HUB_DISABLE_PROGRESS_BARS", "1"), ("TOKENIZERS_PARALLELISM", "false")),
    channels_first=True,
)
# Kind of source -> PyTorch with the library that makes its nets.
LIBRARIES = {
    kind: replace(TORCH, modules=(*_MODULES, library))
    for kind, library in (("timm", "timm"), ("torchvision", "torchvision"), ("torch-hf", "transformers"))
}


def python(kind: str) -> str:
    """Return the interpreter that has PyTorch and what a kind of source needs; raises InputError where none has."""
    return framework.python(LIBRARIES[kind])


def versions(kind: str) -> dict[str, str]:
    """Return the installed versions that an export of a kind depends on; raises InputError where one is missing."""
    return framework.versions(LIBRARIES[kind], python(kind))


@cache
def names(kind: str) -> tuple[str, ...]:
    """Return the names of a library's nets of pictures, each with its weights; nobody is asked but the library.

    Args:
        kind: of source, "timm" or "torchvision".

    Raises:
        InputError: it is not installed, or does not tell.
    """
    versions(kind)
    command = [python(kind), str(_NAMES), kind]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    if done.returncode:
        raise InputError(f"{kind} does not list its nets: {done.stderr.strip()[-300:]}")
    return tuple(json.loads(done.stdout))


def run(kind: str, jobs: list[dict[str, Any]], folder: Path) -> None:
    """Let the child do the jobs of a kind; raises as `framework.run_jobs` and `versions`."""
    versions(kind)
    framework.run_jobs(program(kind, CHILD), jobs, folder, framework.SECONDS_A_NET)


def program(kind: str, file: Path, *, trains: bool = False) -> Program:
    """Return how a program of PyTorch is run; where it trains, it may use the GPU."""
    return framework.program(LIBRARIES[kind], python(kind), file, trains=trains)
