"""Runs targets in child processes: one for all of them, and a new one behind each that it does not survive."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, take_signals


@dataclass(frozen=True)
class Fuzzed:
    """What came of a target.

    Attributes:
        target: its name.
        faults: what came through, and the file with the input that it came through for.
        examples: how many inputs were read; 0 where the process did not survive one.
        memory: bytes that one took at most.
        seconds: how long all took.
    """

    target: str
    faults: dict[str, str]
    examples: int = 0
    memory: int = 0
    seconds: float = 0.0


def fuzz(targets: Sequence[str], keep: Path, *, examples: int, seed: int, seconds: float = 0.0) -> Iterator[Fuzzed]:
    """Fuzz each target and yield what came of it.

    Args:
        targets: names of `tests.hostile.fuzz.TARGETS`.
        keep: folder for the inputs that something came through for.
        examples: inputs of one seed.
        seed: of the first inputs; the following ones are taken until the time is over.
        seconds: how long at least.
    """
    left = list(targets)
    while left:
        wanted = {"targets": left, "examples": examples, "seed": seed, "seconds": seconds, "keep": str(keep)}
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.fuzz.child", json.dumps(wanted)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=take_signals,
        )
        out, err = child.communicate()
        for line in out.splitlines():
            yield Fuzzed(**json.loads(line))
            left.pop(0)
        if left:
            kept = keep / f"{left[0]}-crash"
            kept.write_bytes((keep / "current").read_bytes() if (keep / "current").exists() else b"")
            yield Fuzzed(left.pop(0), {_death(child.returncode, err): str(kept)})


def _death(code: int, err: str) -> str:
    if code == -signal.SIGALRM:
        return "hung"
    return f"crashed: {signal.Signals(-code).name}" if code < 0 else f"ended with {code}: {err[-500:]}"
