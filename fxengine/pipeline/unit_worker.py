"""A worker in a process of its own: takes units from its standard input, and says on its standard output what it does.

python -m fxengine.pipeline.unit_worker TASK, which `places.processes` starts; TASK is a `WorkerTask` as JSON. Each
message is JSON behind its length, as `multiprocessing.connection` has it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fxengine.errors import FxError
from fxengine.execute.cpus import take_share, usable_cores
from fxengine.facts import facts_from, read_json
from fxengine.features.crash_note import CrashNote
from fxengine.pipeline.stages import Stage
from fxengine.pipeline.unit_plan import UnitPlan
from fxengine.pipeline.unit_runner import Asked, News, UnitRunner
from fxengine.storage import is_remote, shown
from fxengine.store_files import reason_of

_FORMAT = 1


@dataclass(frozen=True)
class WorkerTask:
    """What a worker is told when it is started.

    Attributes:
        folder: the store.
        run: the run that it is to work for.
        cores: what it may use.
        decoders: decoding threads; one a core where it is 0.
        notes: a folder of its own to note in what it decodes, or "".
        parent: the process that started it; where that is gone, it ends.
    """

    folder: str
    run: str
    cores: int
    decoders: int
    notes: str
    parent: int

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps({"format": _FORMAT, **asdict(self)})


def open_runner(folder: Path, run: str, decoders: int, note: CrashNote | None = None) -> UnitRunner:
    """Return what computes units of a run in this process.

    Raises:
        FxError: the run is not here, or this process would not make its rows; see `UnitRunner`.
    """
    try:
        plan = UnitPlan(folder)
    except OSError as error:
        raise FxError(f"A worker on {socket.gethostname()} {_no_plan(folder, error)}") from error
    if plan.facts.run != run:
        raise FxError(f"{shown(folder)} has the plan of run {plan.facts.run}, not of {run}: another run began there.")
    return UnitRunner(plan, decoders or usable_cores(), note)


def _no_plan(folder: Path, error: OSError) -> str:
    if not is_remote(folder):
        return (
            f"finds no plan in {folder}: do all machines have that very folder? Workers need a store in a file system "
            "that they share."
        )
    if isinstance(error, FileNotFoundError):
        return (
            f"finds no plan in {shown(folder)}: another process has ended the run, or the machines ask different "
            "servers (AWS_ENDPOINT_URL). Run the same command again."
        )
    return f"cannot read the plan in {shown(folder)}: {reason_of(folder, error)}"


class WithoutPandas:
    """Keeps pandas from being imported: Arrow does so, where it is installed, with the first array that it makes.

    That takes a third of a second in which no other thread gets on, for nothing: no worker has a use for it.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Raise ModuleNotFoundError of pandas; leave every other module to those that come behind."""
        if name == "pandas":
            raise ModuleNotFoundError("A worker does without pandas.", name=name)


class _Talk:
    """The two ends of a worker's standard input and output, behind which nothing else can write."""

    def __init__(self, parent: int) -> None:
        self._parent, self._lock = parent, threading.Lock()  # a runner's feeder says what it begins
        self._inbox, self._outbox = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(2, 1)  # what libraries print
        os.close(nowhere)
        self.note: CrashNote | None = None

    def say(self, **message: Any) -> None:
        if os.getppid() != self._parent:
            os._exit(1)
        with self._lock:
            try:
                self._outbox.send_bytes(json.dumps(message).encode())
            except OSError:
                os._exit(1)  # nobody listens

    def wait(self) -> bool:
        """Wait for a message; return False where none comes any more."""
        with suppress(OSError):
            return self._inbox.poll(None)
        return False

    def next(self) -> Asked | None:
        """Return the next unit that is there; ends the process where nobody sends any more."""
        if not self._inbox.poll(0):
            return None
        try:
            message: Any = json.loads(self._inbox.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)
        if message.get("leave"):
            os._exit(0)
        if self.note is not None:
            self.note.suspects |= {bytes.fromhex(each) for each in message["suspects"]}
        return Asked(message["unit"], message["apart"])


def work(task: WorkerTask) -> None:
    """Compute what is asked for until nobody asks any more."""
    talk = _Talk(task.parent)
    take_share(task.cores)
    sys.meta_path.insert(0, WithoutPandas)
    try:
        note = CrashNote(Path(task.notes), task.decoders or usable_cores()) if task.notes else None
        runner, talk.note = open_runner(Path(task.folder), task.run, task.decoders, note), note
        talk.say(ready=True)
        news = News(
            begun=lambda unit: talk.say(begun=unit),
            at=lambda done, failed: talk.say(at=[done, failed]),
            stages=lambda stages: talk.say(stages=_as_numbers(stages)),
        )
        while talk.wait():
            for result in runner.run(talk.next, news):
                talk.say(done=result.to_dict())
    except FxError as error:
        talk.say(refused=str(error))


def _as_numbers(stages: dict[str, Stage]) -> dict[str, dict[str, float]]:
    return {name: asdict(stage) for name, stage in stages.items()}


if __name__ == "__main__":
    work(facts_from(WorkerTask, read_json(sys.argv[1]), _FORMAT))
    os._exit(0)  # threads in native code may never end
