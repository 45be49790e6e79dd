"""The environment that Keras runs in: which interpreter, what is installed there, and its export program."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones.children.process import Program, check_answer, run_program
from fxengine.backbones.sources.feature_check import sample_photos
from fxengine.errors import InputError

PYTHON_VARIABLE = "FXENGINE_KERAS_PYTHON"
CHILD = Path(__file__).with_name("keras_child.py")
# A download of a gigabyte of weights is part of it.
SECONDS_A_NET = 1800
_MODULES = ("tensorflow", "keras", "tf2onnx")
_PACKAGES = (*_MODULES, "tensorflow-cpu")
_ASK = f"""
import json
from importlib.metadata import PackageNotFoundError, version
found = {{}}
for name in {_PACKAGES}:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def python() -> str:
    """Return the interpreter that Keras is run by.

    Raises:
        InputError: Keras, TensorFlow or tf2onnx is not installed, or Keras is too old to be safe.
    """
    other = os.environ.get(PYTHON_VARIABLE)
    if other:
        if not os.access(other, os.X_OK):
            raise InputError(f"{PYTHON_VARIABLE} is {other}, which is no interpreter that can be run.")
        return other
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"A Keras net needs {', '.join(missing)}: pip install 'fxengine[keras]', or name the python of an "
            f"environment that has them in {PYTHON_VARIABLE}."
        )
    return sys.executable


def versions() -> dict[str, str]:
    """Return the installed versions that an export depends on; nothing of them is imported.

    Raises:
        InputError: something is missing or too old.
    """
    found = _versions(python())
    major, minor = (int(number) for number in found["keras"].split(".")[:2])
    if (major, minor) < (3, 12):
        raise InputError(
            f"Keras {found['keras']} is installed; before 3.12 its safe mode does not hold: pip install 'keras>=3.12'."
        )
    return found


@cache
def _versions(interpreter: str) -> dict[str, str]:
    if interpreter == sys.executable:
        installed = {name: _version(name) for name in _PACKAGES}
    else:
        done = subprocess.run([interpreter, "-c", _ASK], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise InputError(f"{PYTHON_VARIABLE}={interpreter} does not run: {done.stderr.strip()[-300:]}")
        installed = json.loads(done.stdout)
    found = {name: installed.get(name) for name in _MODULES}
    found["tensorflow"] = found["tensorflow"] or installed.get("tensorflow-cpu")
    missing = [name for name, number in found.items() if number is None]
    if missing:
        raise InputError(f"{interpreter} has no {', '.join(missing)}: install 'keras>=3.12' tensorflow tf2onnx there.")
    return {name: str(number) for name, number in found.items()}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def run(jobs: list[dict[str, Any]], folder: Path) -> None:
    """Let the child do the jobs; each leaves its answer in its own folder.

    Raises:
        InputError: a job failed; the message has the child's words and the last lines of its log.
    """
    versions()
    photos = folder / "photos.npy"
    np.save(photos, sample_photos())
    for job in jobs:
        Path(job["folder"]).mkdir()
    order = {"photos": str(photos), "jobs": jobs}
    log, ended = run_program(program(CHILD), order, folder, seconds=SECONDS_A_NET * len(jobs))
    for job in jobs:
        check_answer(job["name"], Path(job["folder"]), log, ended)


def program(file: Path, *, trains: bool = False) -> Program:
    """Return how a program of Keras is run.

    Args:
        file: the program.
        trains: whether it may use the GPU. An export is exact on the processor, and the GPU may be at work.
    """
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    return Program(python(), file, "keras", environment if trains else {**environment, "CUDA_VISIBLE_DEVICES": ""})


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
