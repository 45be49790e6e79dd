"""The environment that PyTorch runs in: which interpreter, what is installed there, and its export program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fxengine.backbones.children import framework
from fxengine.backbones.children.framework import Framework
from fxengine.backbones.children.process import Program

CHILD = Path(__file__).with_name("torch_child.py")
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


def run(kind: str, jobs: list[dict[str, Any]], folder: Path) -> None:
    """Let the child do the jobs of a kind; raises as `framework.run_jobs` and `versions`."""
    versions(kind)
    framework.run_jobs(program(kind, CHILD), jobs, folder, framework.SECONDS_A_NET)


def program(kind: str, file: Path, *, trains: bool = False) -> Program:
    """Return how a program of PyTorch is run; where it trains, it may use the GPU."""
    return framework.program(LIBRARIES[kind], python(kind), file, trains=trains)
