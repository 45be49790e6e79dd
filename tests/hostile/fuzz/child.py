"""Fuzzes targets in a process of its own, which a crash or a hang may end.

    python -m tests.hostile.fuzz.child '{"targets": ["png"], "examples": 100, "seed": 0, "seconds": 0, "keep": "DIR"}'

Prints a line of JSON a target, when it is done with it. What is being read lies in KEEP/current: a crash leaves it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from fxengine.errors import FxError
from tests.hostile.fuzz import Target, load_target
from tests.hostile.worker import begin_peak, limit_memory, peak

_MOST_MEMORY = 3 << 30  # bytes of address space beside what the libraries take
_MOST_SECONDS = 300.0  # of one input, on a machine that does other things, too
_MOST_FAULTS = 20


def main() -> None:
    """Do what the first argument says."""
    wanted = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ["FXENGINE_CACHE"] = tempfile.mkdtemp(dir=wanted["keep"])
    limit_memory(_MOST_MEMORY)
    for name in wanted["targets"]:
        done = _fuzz(name, Path(wanted["keep"]), wanted["examples"], wanted["seed"], wanted["seconds"])
        print(json.dumps(done), file=answers, flush=True)


def read_once(target: Target, data: Any, made: Any) -> int:
    """Read one input and return the bytes that it took at most; raises what is a fault of the reader."""
    before = begin_peak()
    signal.setitimer(signal.ITIMER_REAL, _MOST_SECONDS)  # ends the process, in whatever library it is
    try:
        target.read(data, made)
    except FxError:
        pass  # refused
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    most = peak() - before
    assert most < target.MEGABYTES * 1e6, f"{most / 1e6:.0f} MB for one input"
    return most


def _fuzz(name: str, keep: Path, examples: int, first_seed: int, seconds: float) -> dict[str, object]:
    """Read inputs of one target: so many for a seed, and for the seeds after it until the time is over."""
    target, began, faults = load_target(name), time.monotonic(), dict[str, str]()
    counts = {"examples": 0, "memory": 0}
    with tempfile.TemporaryDirectory() as folder:
        made = target.prepare(Path(folder))

        def one(data: Any) -> None:
            (keep / "current").write_bytes(pickle.dumps(data))
            counts["examples"] += 1
            counts["memory"] = max(counts["memory"], read_once(target, data, made))

        while True:
            fault = _fault(target, one, examples, first_seed)
            if fault is not None and fault not in faults:
                kept = keep / f"{name}-{first_seed}"
                kept.write_bytes((keep / "current").read_bytes())
                faults[fault] = str(kept)
            first_seed += 1
            if time.monotonic() - began >= seconds or len(faults) == _MOST_FAULTS:
                break
    return {"target": name, "faults": faults, "seconds": time.monotonic() - began, **counts}


def _fault(target: Target, one: Callable[[Any], None], examples: int, number: int) -> str | None:
    """Return what came through for one of some inputs, shrunk, which is then the last one that was read."""
    run = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )(seed(number)(given(target.inputs)(one)))
    try:
        run()
    except Exception as error:
        frame = next((f for f in traceback.extract_tb(error.__traceback__)[::-1] if "fxengine" in f.filename), None)
        where = "" if frame is None else f" ({Path(frame.filename).name}:{frame.lineno})"
        return f"{type(error).__name__}: {str(error)[:200]}{where}"
    return None


if __name__ == "__main__":
    main()
