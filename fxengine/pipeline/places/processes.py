"""Workers as processes of this machine: one a GPU, or one for a share of the cores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any

from fxengine.errors import InputError
from fxengine.execute import gpu, usable_cores
from fxengine.features.crash_note import read_suspects
from fxengine.pipeline.driver import At, Begun, Died, Done, Event, Ready, Refused, Stages, Wanted
from fxengine.pipeline.stages import Stage
from fxengine.pipeline.unit_runner import Asked
from fxengine.pipeline.unit_sink import UnitResult
from fxengine.pipeline.unit_worker import WorkerTask

COMMAND = (sys.executable, "-m", "fxengine.pipeline.unit_worker")
_LEAVING = 1.0  # seconds that workers get to tell the last, and to end in
_TAIL = 2000  # bytes of what a worker printed


def ensure_there(_: str) -> None:
    """Raise InputError where a system's pipes cannot be waited for as these are."""
    if os.name != "posix":
        raise InputError("`workers` as processes need Linux or macOS. Leave it away, or use `workers` ray.")


def open_place(wanted: Wanted) -> tuple[Processes, int]:
    """Return the processes of this machine, none started, and how many there will be."""
    return Processes(wanted), wanted.workers


@dataclass
class _Process:
    popen: subprocess.Popen[bytes]
    inbox: Connection  # of the worker
    outbox: Connection
    log: IO[bytes]
    notes: Path
    slot: int


class Processes:
    """Workers as processes of this machine, a `Place`."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._notes = tempfile.TemporaryDirectory(prefix="fxengine-", ignore_cleanup_errors=True)
        self._workers: dict[int, _Process] = {}
        self._gone: list[Event] = []
        self._suspects: set[bytes] = set()
        self._number = -1

    def now(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def start(self) -> int:
        """Start a worker in the first place that is free; return its number."""
        self._number += 1
        taken = {worker.slot for worker in self._workers.values()}
        slot = next(slot for slot in range(self._wanted.workers) if slot not in taken)
        notes = Path(self._notes.name, f"worker-{self._number}")
        notes.mkdir()
        task = WorkerTask(
            folder=str(self._wanted.folder),
            run=self._wanted.run,
            cores=share_of(slot, self._wanted.workers, usable_cores()),
            decoders=self._wanted.decoders,
            notes=str(notes),
            parent=os.getpid(),
        )
        log = tempfile.TemporaryFile(prefix="fxengine-")  # noqa: SIM115 - closed when it has been read
        popen = subprocess.Popen(
            [*COMMAND, task.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment_of(slot, on_gpu=self._wanted.on_gpu),
            process_group=0,  # a Ctrl-C is the driver's, which ends its workers
        )
        assert popen.stdin is not None
        assert popen.stdout is not None
        inbox = Connection(os.dup(popen.stdin.fileno()), readable=False)
        outbox = Connection(os.dup(popen.stdout.fileno()), writable=False)
        popen.stdin.close()
        popen.stdout.close()
        self._workers[self._number] = _Process(popen, inbox, outbox, log, notes, slot)
        return self._number

    def send(self, worker: int, asked: Asked) -> None:
        """Give a worker a unit."""
        suspects = [digest.hex() for digest in self._suspects]
        message = {"unit": asked.unit, "apart": asked.apart, "suspects": suspects}
        with suppress(OSError):  # it is gone, and `wait` will say so
            self._workers[worker].inbox.send_bytes(json.dumps(message).encode())

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened, at the latest after so many seconds."""
        numbers = {worker.outbox: number for number, worker in self._workers.items()}
        ready = wait([*numbers], timeout=seconds)
        return [event for outbox in ready if (number := numbers[outbox]) in self._workers for event in self._of(number)]  # type: ignore[index]

    def _of(self, number: int) -> list[Event]:
        """Return what a worker has said; that it died where it cannot say any more."""
        events: list[Event] = []
        outbox = self._workers[number].outbox
        try:
            while outbox.poll(0):
                events.append(_event(number, json.loads(outbox.recv_bytes())))
        except (EOFError, OSError):
            events.append(Died(number, self._end(number)))
        return events

    def _end(self, number: int) -> str:
        """Take what is left of a worker that is gone; return why it died."""
        worker = self._workers.pop(number)
        with suppress(subprocess.TimeoutExpired):
            worker.popen.wait(_LEAVING)
        worker.popen.kill()
        code = worker.popen.wait()
        self._suspects |= read_suspects(worker.notes)
        worker.log.seek(0, os.SEEK_END)
        worker.log.seek(-min(_TAIL, worker.log.tell()), os.SEEK_END)
        said = worker.log.read().decode(errors="replace").strip().splitlines()
        worker.log.close()
        worker.inbox.close()
        worker.outbox.close()
        how = f"a worker was ended by {_name_of(-code)}" if code < 0 else f"a worker ended with {code}"
        return f"{how} ({said[-1][:200]})" if said and code >= 0 else how

    def kill(self, worker: int) -> None:
        """End a worker, be it there or not."""
        if worker in self._workers:
            self._workers[worker].popen.kill()
            self._end(worker)

    def close(self) -> list[Event]:
        """End every worker; return what was heard of them while they ended."""
        for worker in self._workers.values():
            with suppress(OSError):
                worker.inbox.send_bytes(b'{"leave": true}')
        events: list[Event] = []
        end = time.monotonic() + _LEAVING
        while self._workers and (left := end - time.monotonic()) > 0:
            events += self.wait(left)
        for number in [*self._workers]:
            self.kill(number)
        self._notes.cleanup()
        return events


def _event(number: int, said: dict[str, Any]) -> Event:
    (name, value), *_ = said.items()
    if name == "ready":
        return Ready(number)
    if name == "begun":
        return Begun(number, value)
    if name == "at":
        return At(number, *value)
    if name == "done":
        return Done(number, UnitResult(**value))
    if name == "stages":
        return Stages(number, {stage: Stage(**numbers) for stage, numbers in value.items()})
    return Refused(number, value)


def share_of(slot: int, workers: int, cores: int) -> int:
    """Return how many of the cores a worker gets; all of them together get all."""
    return max(1, cores * (slot + 1) // workers - cores * slot // workers)


def environment_of(slot: int, *, on_gpu: bool) -> dict[str, str]:
    """Return a worker's environment, in which it sees one of the GPUs that this process sees."""
    if not on_gpu:
        return {**os.environ}
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    seen = [each for each in named.split(",") if each] or [str(number) for number in range(gpu.count())]
    return {**os.environ, "CUDA_VISIBLE_DEVICES": seen[slot % len(seen)]}


def _name_of(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
