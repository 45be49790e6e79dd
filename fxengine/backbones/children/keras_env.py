"""The child process that Keras runs in: which interpreter, what is installed there, its log and its answers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fxengine.cache import cache_folder
from fxengine.errors import InputError

PYTHON_VARIABLE = "FXENGINE_KERAS_PYTHON"
CHILD = Path(__file__).with_name("keras_child.py")
# A download of a gigabyte of weights is part of it.
SECONDS_A_NET = 1800
_LOG_LINES = 12
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
    log, ended = run_program(CHILD, {"photos": str(photos), "jobs": jobs}, folder, seconds=SECONDS_A_NET * len(jobs))
    for job in jobs:
        check(f"keras:{job['what']}", Path(job["folder"]), log, ended)


def run_program(
    program: Path,
    order: dict[str, Any],
    folder: Path,
    *,
    seconds: float,
    trains: bool = False,
    watch: Callable[[], None] = lambda: None,
) -> tuple[Path, str]:
    """Run a program of the child to its end; return its log and how it ended.

    Args:
        program: the file; it is given the path of the order.
        order: what to do, as JSON data; written into `folder`.
        folder: where it runs.
        seconds: after which it is ended.
        trains: whether it may use the GPU. An export is exact on the processor, and the GPU may be at work.
        watch: called a few times a second while it runs.
    """
    path = folder.absolute() / "job.json"  # it runs in that folder
    path.write_text(json.dumps(order))
    logs = cache_folder() / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"keras-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    environment = {
        **os.environ,
        **({} if trains else {"CUDA_VISIBLE_DEVICES": ""}),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONSAFEPATH": "1",  # else the child would find our cache.py and options.py as top-level modules
    }
    command = [python(), str(program), str(path)]
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment, cwd=folder
        )
        try:
            status = _wait(child, seconds, watch)
        finally:
            child.kill()
            child.wait()
    if status is None:
        return log, f"the child process ran past its time limit of {seconds:.0f} s and was ended"
    if status == -9:  # SIGKILL, which Windows has no name for
        return log, "the child process was killed, most likely because it ran out of memory"
    return log, f"the child process ended with exit status {status}"


def _wait(child: subprocess.Popen[bytes], seconds: float, watch: Callable[[], None]) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return child.wait(timeout=min(0.3, seconds))
        except subprocess.TimeoutExpired:
            watch()
    return None


def check(name: str, folder: Path, log: Path, ended: str, doing: str = "exported") -> None:
    """Raise InputError where the job of a folder failed, in the child's words and with the last lines of its log."""
    path = folder / "answer.json"
    answer: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"ok": False, "error": ended}
    if answer["ok"]:
        return
    if "refused" in answer:
        raise InputError(f"{name}: {answer['refused']}")
    tried = f" Tried: {', '.join(answer['tried'])}." if answer.get("tried") else ""
    lines = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
    raise InputError(
        f"{name} could not be {doing}: {answer['error']}.{tried} The log is {log}; its last lines:\n  "
        + "\n  ".join(lines)
    )


def sample_photos() -> np.ndarray:
    """Return the two photos that scikit-learn brings along, uint8 [2, 427, 640, 3]."""
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images)


def answers(model: onnx.ModelProto, photos: np.ndarray) -> dict[str, np.ndarray]:
    """Return what ONNX Runtime makes of the photos on the processor, by output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails here is raised
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
    )
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {session.get_inputs()[0].name: photos})
    return dict(zip(names, map(np.asarray, found), strict=True))


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
