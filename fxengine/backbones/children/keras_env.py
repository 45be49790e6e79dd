"""The environment that Keras runs in: which interpreter, what is installed there, and its export program."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from fxengine.backbones.children import framework
from fxengine.backbones.children.framework import Framework
from fxengine.backbones.children.process import Program
from fxengine.errors import InputError

CHILD = Path(__file__).with_name("keras_child.py")
SECONDS_A_NET = framework.SECONDS_A_NET
KERAS = Framework(
    name="Keras",
    what="A Keras net",
    log="keras",
    variable="FXENGINE_KERAS_PYTHON",
    modules=("tensorflow", "keras", "tf2onnx"),
    others=(("tensorflow", "tensorflow-cpu"),),
    install="pip install 'fxengine[keras]'",
    install_there="'keras>=3.12' tensorflow tf2onnx",
    environment=(("TF_CPP_MIN_LOG_LEVEL", "2"), ("KERAS_BACKEND", "tensorflow")),
)


def python() -> str:
    """Return the interpreter that Keras is run by.

    Raises:
        InputError: Keras, TensorFlow or tf2onnx is not installed.
    """
    return framework.python(KERAS)


def versions() -> dict[str, str]:
    """Return the installed versions that an export depends on; nothing of them is imported.

    Raises:
        InputError: something is missing, or Keras is too old to be safe.
    """
    found = framework.versions(KERAS, python())
    major, minor = (int(number) for number in found["keras"].split(".")[:2])
    if (major, minor) < (3, 12):
        raise InputError(
            f"Keras {found['keras']} is installed; before 3.12 its safe mode does not hold: pip install 'keras>=3.12'."
        )
    return found


def run(jobs: list[dict[str, Any]], folder: Path) -> None:
    """Let the child do the jobs; raises as `framework.run_jobs` and `versions`."""
    versions()
    framework.run_jobs(program(CHILD), jobs, folder, SECONDS_A_NET)


def program(file: Path, *, trains: bool = False) -> Program:
    """Return how a program of Keras is run; where it trains, it may use the GPU."""
    return framework.program(KERAS, python(), file, trains=trains)


def input_size(path: Path) -> tuple[int | None, int | None]:
    """Return the height and width that a .keras file's first input says, None where they are open; batch is any.

    Raises:
        InputError: the file is no Keras 3 model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("config.json").decode()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no .keras file (a zip with config.json in it): save it by Keras 3.") from error
    shape = re.search(r'"batch_shape": \[(?:\d+|null), (\d+|null), (\d+|null), ', text)
    if shape is None:
        return None, None
    height, width = (None if number == "null" else int(number) for number in shape.groups())
    return height, width
