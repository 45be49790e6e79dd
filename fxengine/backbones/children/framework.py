"""A framework that runs in a process of its own: which interpreter has it, what is installed there, its programs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones.children.process import Program, check_answer, run_program
from fxengine.backbones.sources.feature_check import sample_photos
from fxengine.errors import InputError

# A download of a gigabyte of weights is part of it.
SECONDS_A_NET = 1800
_ASK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Framework:
    """A framework, as far as an export by it goes.

    Attributes:
        name: how people call it.
        what: what needs it, as a sentence begins: "A Keras net".
        log: what the names of its logs begin with.
        variable: the environment variable that names another interpreter.
        modules: what an export imports, which packages of the same names bring.
        others: (module, package) of those that a package of another name may bring as well.
        install: the command that installs it here, in the form of a sentence's end.
        install_there: what is to be installed into another interpreter.
        environment: variables that its programs are given.
        channels_first: whether its nets take pictures as [batch, 3, height, width]; else the colours come last.
    """

    name: str
    what: str
    log: str
    variable: str
    modules: tuple[str, ...]
    install: str
    install_there: str
    others: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    channels_first: bool = False


def python(framework: Framework) -> str:
    """Return the interpreter that a framework is run by.

    Raises:
        InputError: it is not installed.
    """
    other = os.environ.get(framework.variable)
    if other:
        if not os.access(other, os.X_OK):
            raise InputError(f"{framework.variable} is {other}, which is no interpreter that can be run.")
        return os.path.abspath(other)  # programs run in a folder of their own
    missing = [name for name in framework.modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{framework.what} needs {', '.join(missing)}: {framework.install}, or name the python of an environment "
            f"that has them in {framework.variable}."
        )
    return sys.executable


@cache
def versions(framework: Framework, interpreter: str) -> dict[str, str]:
    """Return the versions that an interpreter has of the modules of a framework; nothing of them is imported.

    Raises:
        InputError: something is missing.
    """
    packages = (*framework.modules, *(package for _, package in framework.others))
    if interpreter == sys.executable:
        installed = {name: _version(name) for name in packages}
    else:
        command = [interpreter, "-c", _ASK, *packages]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise InputError(f"{framework.variable}={interpreter} does not run: {done.stderr.strip()[-300:]}")
        installed = json.loads(done.stdout)
    found = {name: installed.get(name) for name in framework.modules}
    for name, package in framework.others:
        found[name] = found[name] or installed.get(package)
    missing = [name for name, number in found.items() if number is None]
    if missing:
        raise InputError(f"{interpreter} has no {', '.join(missing)}: install {framework.install_there} there.")
    return {name: str(number) for name, number in found.items()}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def program(framework: Framework, interpreter: str, file: Path, *, trains: bool = False) -> Program:
    """Return how a program of a framework is run.

    Args:
        framework: the framework.
        interpreter: which has it.
        file: the program.
        trains: whether it may use the GPU. An export is exact on the processor, and the GPU may be at work.
    """
    hidden = {} if trains else {"CUDA_VISIBLE_DEVICES": ""}
    return Program(interpreter, file, framework.log, {**dict(framework.environment), **hidden})


def run_jobs(child: Program, jobs: Sequence[dict[str, Any]], folder: Path, seconds: float) -> None:
    """Let an export program do the jobs; each leaves its answer in its own folder.

    Args:
        child: the program.
        jobs: each with its `name`, and the `folder` that is made for it.
        folder: where the program runs.
        seconds: that each job may take.

    Raises:
        InputError: a job failed; the message has the child's words and the last lines of its log.
    """
    photos = folder / "photos.npy"
    np.save(photos, sample_photos())
    for job in jobs:
        Path(job["folder"]).mkdir()
    order = {"photos": str(photos), "jobs": list(jobs)}
    log, ended = run_program(child, order, folder, seconds=seconds * len(jobs))
    for job in jobs:
        check_answer(job["name"], Path(job["folder"]), log, ended)
