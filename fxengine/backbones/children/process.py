"""Runs a program in a process of its own: its order, its log, and its answer in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fxengine.backbones.children.layout import ANSWER
from fxengine.cache import working_folder
from fxengine.errors import InputError, explained

_LOG_LINES = 12


@dataclass(frozen=True)
class Program:
    """What is run.

    Attributes:
        python: the interpreter.
        file: the program; it is given the path of its order.
        log: what the names of its logs begin with.
        environment: variables beside those of this process.
    """

    python: str
    file: Path
    log: str
    environment: Mapping[str, str] = field(default_factory=dict)


def run_program(
    program: Program,
    order: Mapping[str, Any],
    folder: Path,
    *,
    seconds: float,
    watch: Callable[[], None] = lambda: None,
) -> tuple[Path, str]:
    """Run a program to its end; return its log and how it ended.

    Args:
        program: what is run.
        order: what to do, as JSON data; written into `folder`.
        folder: where it runs.
        seconds: after which it is ended.
        watch: called a few times a second while it runs.
    """
    path = folder.absolute() / "job.json"  # it runs in that folder
    with explained(f"Cannot write to {path.parent}", "Make room, and give the same command again.", InputError):
        path.write_text(json.dumps(order))
    log = working_folder("logs") / f"{program.log}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    # Else the program would find the files beside it as top-level modules.
    environment = {**os.environ, **program.environment, "PYTHONSAFEPATH": "1"}
    command = [program.python, str(program.file), str(path)]
    before = _peak()
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
        after = _peak()
        took = f" (it took {after / 1e9:.1f} GB)" if after > before else ""
        return log, f"the child process was killed, most likely because it ran out of memory{took}"
    return log, f"the child process ended with exit status {status}"


def _peak() -> int:
    """Return the bytes of memory that the largest child so far took; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit


def _wait(child: subprocess.Popen[bytes], seconds: float, watch: Callable[[], None]) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return child.wait(timeout=min(0.3, seconds))
        except subprocess.TimeoutExpired:
            watch()
    return None


def check_answer(name: str, folder: Path, log: Path, ended: str, doing: str = "exported") -> None:
    """Raise InputError where the job of a folder failed, in the child's words and with the last lines of its log."""
    answer = _answer(folder / ANSWER) or {"ok": False, "error": ended}
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


def _answer(path: Path) -> dict[str, Any]:
    """Return what a child left; nothing where it left none, or died while it wrote it."""
    try:
        answer: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return answer
