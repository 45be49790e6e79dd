"""Workers as actors of a Ray cluster: one a GPU, or one for a few cores of a node.

Ray starts processes where there is room and says when one is lost; what runs again, and where, the driver decides: with
Ray's own retries nothing would be counted.
"""

from __future__ import annotations

import os
import queue
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fxengine.errors import FxError, InputError, first_line, reason
from fxengine.execute.cpus import take_share
from fxengine.pipeline.driver import At, Begun, Died, Done, Event, Ready, Refused, Stages, Wanted
from fxengine.pipeline.stages import Stage
from fxengine.pipeline.unit_runner import Asked, News
from fxengine.pipeline.unit_sink import UnitResult
from fxengine.pipeline.unit_worker import open_runner

LEAST = (2, 55)
_INSTALL = "pip install 'fxengine[ray]'"
_CORES = 4  # of a worker without a GPU, at most: a node with many has several workers
_ANSWER = 5.0  # seconds in which a cluster's address has to answer
_ASKED_EVERY = 1.0  # seconds between two questions how far an actor is
_AT_ONCE = 5  # calls of an actor: `work`, two units, `told`, and one to spare


def ensure_there(address: str) -> None:
    """Raise InputError where Ray is not installed or too old, or nothing answers at the cluster's address."""
    try:
        found = version("ray")
    except PackageNotFoundError:
        raise InputError(f"`workers` ray needs Ray: {_INSTALL}.") from None
    if tuple(int(part) for part in found.split(".")[:2]) < LEAST:
        raise InputError(f"`workers` ray needs Ray {LEAST[0]}.{LEAST[1]} or newer, {found} is installed: {_INSTALL}.")
    asked = _asked(address)
    host, _, port = asked.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"No Ray cluster answers at {asked}: {reason(error)}.") from error


def open_place(wanted: Wanted) -> tuple[Actors, int]:
    """Return the actors of a cluster, none started, and how many it has room for.

    Raises:
        InputError: the cluster cannot be used, or has no room.
    """
    import ray

    is_ours = not ray.is_initialized()
    if is_ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked to tell anybody
        asked = _asked(wanted.address)
        try:
            ray.init(asked or None, logging_level="error", log_to_driver=False)
        except Exception as error:
            raise InputError(f"Ray at {asked or 'this machine'} cannot be used: {first_line(error)}") from error
    rooms = rooms_of(ray.nodes(), on_gpu=wanted.on_gpu)
    if not rooms:
        if is_ours:
            ray.shutdown()
        raise InputError(f"The Ray cluster has no {'GPU' if wanted.on_gpu else 'core'} for a worker.")
    return Actors(wanted, rooms, is_ours=is_ours), len(rooms)


def _asked(address: str) -> str:
    return address or os.environ.get("RAY_ADDRESS", "")


@dataclass(frozen=True)
class _Room:
    """What an actor has for itself."""

    cpus: int
    gpus: int


def rooms_of(nodes: list[dict[str, Any]], *, on_gpu: bool) -> list[_Room]:
    """Return the room for each worker that there may be."""
    rooms: list[_Room] = []
    for node in nodes:
        there = node["Resources"] if node["Alive"] else {}
        cpus, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
        if on_gpu:
            rooms += [_Room(max(1, cpus // gpus), 1)] * gpus if gpus else []
        elif cpus:
            share = min(cpus, _CORES)
            rooms += [_Room(share, 0)] * (cpus // share)
    return rooms


class UnitActor:
    """Computes units inside a cluster; several threads of Ray's call it at once, one of which stays in `work`."""

    def __init__(self, folder: str, run: str, cores: int, decoders: int) -> None:
        self._of = (Path(folder), run, decoders)
        self._cores = cores
        self._inbox: queue.Queue[Asked] = queue.Queue()
        self._answers: dict[int, Future[dict[str, Any]]] = {}
        self._told: dict[str, Any] = {"at": [0, 0], "stages": {}}

    def open(self) -> str:
        """Load the backbone; return why this node will not take part, "" where it does."""
        take_share(self._cores)
        try:
            self._runner = open_runner(*self._of)
        except FxError as error:
            return str(error)
        return ""

    def work(self) -> str:
        """Compute what `take` puts in, for ever; return why it cannot go on."""

        def at(done: int, failed: int) -> None:
            self._told["at"] = [done, failed]

        def stages(found: dict[str, Stage]) -> None:
            self._told["stages"] = {name: asdict(stage) for name, stage in found.items()}

        try:
            while True:
                first = [self._inbox.get()]
                for result in self._runner.run(lambda first=first: self._next(first), News(at=at, stages=stages)):  # type: ignore[misc]
                    self._answers.pop(result.unit).set_result(result.to_dict())
        except FxError as error:
            return str(error)

    def _next(self, first: list[Asked]) -> Asked | None:
        if first:
            return first.pop()
        with suppress(queue.Empty):
            return self._inbox.get_nowait()
        return None

    def take(self, unit: int, apart: bool) -> dict[str, Any]:
        """Compute a unit; return its result."""
        answer = self._answers[unit] = Future[dict[str, Any]]()
        self._inbox.put(Asked(unit, apart))
        return answer.result()

    def told(self) -> dict[str, Any]:
        """Return how far it is, and what the stages did since the last time."""
        told, self._told = self._told, {**self._told, "stages": {}}
        return told


@dataclass
class _Actor:
    handle: Any
    room: _Room
    units: list[int] = field(default_factory=list)
    asked: float = 0.0


class Actors:
    """Workers as actors of a Ray cluster, a `Place`."""

    def __init__(self, wanted: Wanted, rooms: list[_Room], *, is_ours: bool) -> None:
        self._wanted, self._rooms, self._is_ours = wanted, rooms, is_ours
        self._actors: dict[int, _Actor] = {}
        self._refs: dict[Any, tuple[int, str]] = {}  # -> (worker, what was asked)
        self._events: list[Event] = []
        self._number = -1

    def now(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def start(self) -> int:
        """Ask for an actor, which is there once its node has room; return its number."""
        import ray

        self._number += 1
        free = [*self._rooms]
        for actor in self._actors.values():
            free.remove(actor.room)
        room = free[0]
        made = ray.remote(UnitActor).options(
            num_cpus=room.cpus, num_gpus=room.gpus, max_restarts=0, max_task_retries=0, max_concurrency=_AT_ONCE
        )
        decoders = self._wanted.decoders
        handle = made.remote(str(self._wanted.folder), self._wanted.run, room.cpus, decoders)
        self._actors[self._number] = _Actor(handle, room)
        self._ask(self._number, "open", handle.open.remote())
        return self._number

    def _ask(self, worker: int, what: str, ref: Any) -> None:
        self._refs[ref] = (worker, what)

    def send(self, worker: int, asked: Asked) -> None:
        """Give a worker a unit."""
        actor = self._actors[worker]
        if not actor.units:
            self._events.append(Begun(worker, asked.unit))
        actor.units.append(asked.unit)
        self._ask(worker, "take", actor.handle.take.remote(asked.unit, asked.apart))

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened, at the latest after so many seconds."""
        import ray

        events, self._events = self._events, []
        self._ask_how_far()
        if not self._refs:
            time.sleep(seconds)
            return events
        ready, _ = ray.wait([*self._refs], num_returns=1, timeout=0 if events else seconds)
        if ready:
            ready, _ = ray.wait([*self._refs], num_returns=len(self._refs), timeout=0)
        for ref in ready:
            worker, what = self._refs.pop(ref)
            if worker in self._actors:
                events += self._answered(worker, what, ref)
        return events

    def _answered(self, worker: int, what: str, ref: Any) -> list[Event]:
        import ray

        try:
            answer = ray.get(ref)
        except ray.exceptions.RayError as error:
            return [Died(worker, f"a worker on the cluster is gone ({first_line(error, 200)})")]
        actor = self._actors[worker]
        if what == "open" and not answer:
            self._ask(worker, "work", actor.handle.work.remote())
            return [Ready(worker)]
        if what in ("open", "work"):
            return [Refused(worker, answer)]
        if what == "told":
            stages = {name: Stage(**numbers) for name, numbers in answer["stages"].items()}
            return [At(worker, *answer["at"]), *([Stages(worker, stages)] if stages else [])]
        result = UnitResult(**answer)
        actor.units.remove(result.unit)
        return [Done(worker, result), *(Begun(worker, unit) for unit in actor.units[:1])]

    def _ask_how_far(self) -> None:
        now = self.now()
        waiting = {worker for worker, what in self._refs.values() if what == "told"}
        for number, actor in self._actors.items():
            if actor.units and number not in waiting and now - actor.asked > _ASKED_EVERY:
                actor.asked = now
                self._ask(number, "told", actor.handle.told.remote())

    def kill(self, worker: int) -> None:
        """End a worker, be it there or not: one that cannot be reached may still hold what its successor needs."""
        import ray

        if worker in self._actors:
            with suppress(Exception):
                ray.kill(self._actors.pop(worker).handle, no_restart=True)
        self._refs = {ref: asked for ref, asked in self._refs.items() if asked[0] != worker}

    def close(self) -> list[Event]:
        """End every worker, and leave a cluster that this run went to."""
        import ray

        for worker in [*self._actors]:
            self.kill(worker)
        if self._is_ours:
            ray.shutdown()
        return []
