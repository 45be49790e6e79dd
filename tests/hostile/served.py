"""Asks a process that serves many commands; what it does not survive is the failure of the one command."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Literal

from tests.conftest import ROOT, take_signals

_START = 600.0  # seconds for the libraries, on a machine that does other things, too

End = Literal["ended", "crashed", "hung"]


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        arguments: of `fxengine`.
        end: how it ended; of one that crashed or hung, nothing else is known but `code`, the number of the signal.
        code: exit code; -1 where an exception came through.
        out: standard output.
        err: standard error.
        seconds: how long it took.
        memory: bytes that it took at most, beside what the process had before.
    """

    arguments: tuple[str, ...]
    end: End
    code: int
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    memory: int = 0

    @property
    def traced(self) -> bool:
        """Whether an exception came through, or was caught by who prints what is to be reported."""
        return self.code == -1 or "Traceback (most" in self.err

    @property
    def command(self) -> str:
        """The command as a person would give it."""
        return " ".join(("fxengine", *self.arguments))


@dataclass
class Counts:
    """What all commands came to."""

    cases: int = 0
    commands: int = 0
    crashes: int = 0
    hangs: int = 0
    tracebacks: int = 0
    memory: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more command."""
        self.commands += 1
        self.crashes += outcome.end == "crashed"
        self.hangs += outcome.end == "hung"
        self.tracebacks += outcome.traced
        self.memory = max(self.memory, outcome.memory)

    def join(self, other: Counts) -> None:
        """Count what another process counted."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, max(mine, value) if name == "memory" else mine + value)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.commands} commands: {self.crashes} crashes, {self.hangs} hangs, "
            f"{self.tracebacks} tracebacks, {self.memory / 1e6:.0f} MB at most"
        )


@dataclass
class Server:
    """A process that runs commands one after the other, and a new one where that one is gone.

    Attributes:
        environ: of the process, beside this one's.
        thorough: whether every case is to run through every command.
        counts: what all commands came to.
    """

    environ: dict[str, str]
    thorough: bool = False
    counts: Counts = field(default_factory=Counts)
    _process: subprocess.Popen[str] | None = None

    def run(self, *arguments: object, within: float = 300.0, environ: dict[str, str] | None = None) -> Outcome:
        """Run `fxengine ARGUMENTS` and return what came of it; it is killed after `within` seconds."""
        texts = tuple(map(str, arguments))
        outcome = replace(self._ask(texts, within, environ or {}), arguments=texts)
        self.counts.add(outcome)
        return outcome

    def _ask(self, arguments: Sequence[str], within: float, environ: dict[str, str]) -> Outcome:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps({"arguments": arguments, "environ": environ}), file=process.stdin, flush=True)
        answer = _line(process.stdout, within)
        if answer:
            return Outcome(end="ended", **{"arguments": (), **json.loads(answer)})
        hung = answer is None
        self.close()
        return Outcome((), "hung" if hung else "crashed", process.returncode)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.worker"],
            cwd=ROOT,
            env={**os.environ, **self.environ, "FXENGINE_PARENT": str(os.getpid())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=take_signals,
        )
        assert process.stdout is not None
        assert _line(process.stdout, _START) == "ready\n"
        return process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def _line(stream: IO[str], within: float) -> str | None:
    """Return the next line, "" where there will be none, None where it did not come in time."""
    ready, _, _ = select.select([stream], [], [], within)
    return stream.readline() if ready else None
