"""The threads that drive a run: read, decode, model, each overlapping the others, in bounded memory.

    feed -> [readers] -> [decoders] -> [runners] -> results, in the order of the inputs

Extraction, prediction, verification and queries are all driven by it. No other file starts threads of its own:
elsewhere a pool runs one function over blocks.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fxengine.collect.item import Item, Payload, sha256_of
from fxengine.decode import Filled, Inputs, Preparer
from fxengine.errors import DecodeError
from fxengine.execute.session import Session, in_order
from fxengine.execute.shapes import Rows, cut
from fxengine.features.crash_note import CrashNote
from fxengine.pipeline.lookahead import READERS
from fxengine.pipeline.queues import Budget, Channel, Stopped
from fxengine.pipeline.stages import Stage
from fxengine.pipeline.units import Task

T = TypeVar("T")

READ_AHEAD_BYTES = 64 << 20
DECODE_BYTES = 512 << 20
_WINDOWS = 2
_SPARE_BUFFERS = 3  # batches that are being filled while every runner has one
_WINDOW = 256  # batches that may be finished ahead of one that takes long
_LEAVING = 0.8  # seconds that threads get to end in where a run is stopped; native code may never come back


@dataclass(frozen=True)
class Steps:
    """What a run does with each input.

    Attributes:
        read: returns what an item holds, and the item as it was when it was read; a listing's own.
        max_bytes: what is refused as too large to read.
        preparer: turns that into a row of the graph's inputs.
        session: the loaded backbone.
        outputs: which of its outputs to compute.
    """

    read: Callable[[Item, int], tuple[Payload, Item]]
    max_bytes: int
    preparer: Preparer
    session: Session
    outputs: tuple[str, ...]


@dataclass
class Job:
    """One input on its way through the stages.

    Attributes:
        task: what was asked for.
        item: the input; once read, with the size and time that it had then.
        payload: what it holds, from when it was read until it was decoded.
        content_hash: SHA-256 of what it holds, in hex.
        filled: what the store says of it, once decoded.
        error: why there is no vector, or None.
        moved: whether its content is that of a row whose input is gone; then it was not decoded.
    """

    task: Task
    item: Item
    batch: Batch
    slot: int
    payload: Payload = b""
    content_hash: str | None = None
    filled: Filled = field(default_factory=Filled)
    error: DecodeError | None = None
    moved: bool = False


@dataclass
class Batch:
    """Consecutive inputs that are handed to the model together, which takes them in one run or in several.

    Attributes:
        number: its place in the run.
        inputs: name -> array [rows of a window, ...]; None once the model has run.
        jobs: one for each row of the inputs, from the front.
        outputs: output name -> float32 [jobs, dim], once the model has run; rows of failed jobs hold anything, and the
            last ones may be left out.
        unfinished: what it waits for: jobs to be decoded and the feeder's word that it is complete, then runs.
    """

    number: int
    inputs: Inputs | None
    jobs: list[Job] = field(default_factory=list)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    unfinished: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count_down(self) -> bool:
        """Take one from what is unfinished; tell whether nothing is left."""
        with self.lock:
            self.unfinished -= 1
            return self.unfinished == 0

    def take(self, rows: Rows, found: Mapping[str, np.ndarray]) -> None:
        """Take what the model gave for some of the rows."""
        if isinstance(rows, slice) and self.unfinished == 1 and not self.outputs:
            self.outputs = dict(found)
            return
        with self.lock:
            if not self.outputs:
                self.outputs = {name: np.zeros((len(self.jobs), v.shape[1]), v.dtype) for name, v in found.items()}
        for name, values in found.items():
            self.outputs[name][rows] = values


def run_on_streams(session: Session, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
    """Return one output, float32 [n, dim], of inputs, name -> array [n, ...], by a thread for each stream."""
    count = len(next(iter(inputs.values())))
    runs = cut(inputs, range(count), session.batch_size)
    pool = ThreadPoolExecutor(session.streams)
    try:
        return in_order(runs, list(pool.map(lambda rows: session.run_rows(inputs, rows, (output,)), runs)), count)[
            output
        ]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a Ctrl-C does not wait for a net that never ends


class Pipeline:
    """Runs inputs through read, decode and model.

    Args:
        steps: what is done with each.
        decoders: decoding threads.
        known_content: content hashes whose vectors need not be computed.
        note: where to note what is being decoded, or None.
    """

    def __init__(
        self,
        steps: Steps,
        decoders: int,
        known_content: Container[str] = frozenset(),
        note: CrashNote | None = None,
    ) -> None:
        session = steps.session
        self.stages = {"read": Stage(READERS), "decode": Stage(decoders), "model": Stage(session.streams)}
        self._steps, self._known_content, self._note = steps, known_content, note
        self._batch_limits = steps.preparer.window(session.batch_size)
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._to_read: Channel[Job] = Channel(READERS * 2, self._stop)
        self._to_decode: Channel[Job] = Channel(decoders * 4, self._stop)
        # A window of several runs keeps every runner at work: while it does, the next one is filled.
        buffers = _WINDOWS if self._batch_limits.size is not None else session.streams + _SPARE_BUFFERS
        self._to_run: Channel[tuple[Batch, Rows]] = Channel(buffers, self._stop)
        self._done: Channel[Batch] = Channel(buffers, self._stop)
        self._buffers: Channel[Inputs] = Channel(buffers, self._stop)
        self._read_budget = Budget(READ_AHEAD_BYTES, self._stop)
        self._decode_budget = Budget(DECODE_BYTES, self._stop)
        self._window = Budget(_WINDOW, self._stop)
        self._totals = threading.Lock()
        for _ in range(buffers):
            self._buffers.put(steps.preparer.room(self._batch_limits.rows))

    def results(self, tasks: Iterable[Task]) -> Generator[Batch, None, None]:
        """Yield finished batches in the order of the tasks; closing the generator stops every thread.

        A thread in native code that does not come back soon is left to itself: what it makes, nobody takes.
        """
        work: list[tuple[Callable[..., None], tuple[object, ...], int]] = [
            (self._feed, (tasks,), 1),
            (self._read, (), self.stages["read"].threads),
            (self._decode, (), self.stages["decode"].threads),
            (self._run, (), self.stages["model"].threads),
        ]
        groups = [
            [threading.Thread(target=self._guard, args=(target, *arguments), daemon=True) for _ in range(count)]
            for target, arguments, count in work
        ]
        threads = [thread for group in groups for thread in group]
        threads.append(threading.Thread(target=self._close_in_turn, args=(groups,), daemon=True))
        try:
            for thread in threads:
                thread.start()
            yield from self._in_order()
        finally:
            self._stop.set()
            end = time.monotonic() + _LEAVING
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, end - time.monotonic()))

    def _in_order(self) -> Iterator[Batch]:
        waiting: dict[int, Batch] = {}
        number = 0
        try:
            while (batch := self._done.get()) is not None:
                waiting[batch.number] = batch
                while number in waiting:
                    yield waiting.pop(number)
                    self._window.give(1)
                    number += 1
        except Stopped:
            pass
        if self._failure is not None:
            raise self._failure

    def _close_in_turn(self, groups: list[list[threading.Thread]]) -> None:
        """Close each queue once every thread that fills it has ended."""
        channels: list[Channel[Any]] = [self._to_read, self._to_decode, self._to_run, self._done]
        for group, channel in zip(groups, channels, strict=True):
            for thread in group:
                thread.join()
            channel.close()

    def _guard(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except Stopped:
            pass
        except BaseException as error:  # whatever it is, the main thread must hear of it
            self._failure = self._failure or error
            self._stop.set()

    def _feed(self, tasks: Iterable[Task]) -> None:
        """Deal the inputs out to batches; a batch begins as soon as a buffer is free."""
        batch: Batch | None = None
        number = size = 0
        for task in tasks:
            if batch is None:
                self._window.take(1)
                batch, size = Batch(number, self._buffers.get(), unfinished=1), 0
                number += 1
            job = Job(task, task.item, batch, len(batch.jobs))
            if task.move is not None:
                job.content_hash, job.moved = task.move.content_hash, True
            with batch.lock:
                batch.jobs.append(job)
                batch.unfinished += 1
            self._to_read.put(job)
            size += max(0, task.item.size)
            if self._is_full(batch, size):
                self._finish_one(batch)
                batch = None
        if batch is not None:
            self._finish_one(batch)

    def _is_full(self, batch: Batch, size: int) -> bool:
        limits = self._batch_limits
        return len(batch.jobs) == limits.rows or (limits.size is not None and size >= limits.size)

    def _finish_one(self, batch: Batch) -> None:
        """Count down what a batch waits for; once it has all, deal it out to the runners."""
        if not batch.count_down():
            return
        assert batch.inputs is not None
        fine = [job.slot for job in batch.jobs if job.error is None and not job.moved]
        runs = cut(batch.inputs, fine, self._steps.session.batch_size)
        batch.unfinished = len(runs)
        for rows in runs:
            self._to_run.put((batch, rows))
        if not runs:
            self._done.put(self._without_inputs(batch))

    def _without_inputs(self, batch: Batch) -> Batch:
        """Return a batch that the model has run; its inputs serve the next one."""
        assert batch.inputs is not None
        self._buffers.put(batch.inputs)
        batch.inputs = None
        return batch

    def _read(self) -> None:
        stage = Stage(0)
        while (job := _timed_get(self._to_read, stage)) is not None:
            begin = time.perf_counter()
            size = 0 if job.moved else max(0, min(job.item.size, self._steps.max_bytes))
            self._read_budget.take(size)
            taken = time.perf_counter()
            stage.blocked += taken - begin
            if not job.moved:
                self._read_one(job, size)
            stage.busy += time.perf_counter() - taken
            _timed_put(self._to_decode, job, stage)
        self._add("read", stage)

    def _read_one(self, job: Job, size: int) -> None:
        """Read a job's payload; `size` bytes of the budget are its own, and those that it does not need go back."""
        try:
            job.payload, job.item = self._steps.read(job.item, self._steps.max_bytes)
            self._read_budget.give(size - _bytes(job.payload))
            job.content_hash = sha256_of(job.payload)
            job.moved = job.content_hash in self._known_content
        except DecodeError as error:
            job.error, job.content_hash = error, job.item.content_hash
            self._read_budget.give(size)

    def _decode(self) -> None:
        stage, number = Stage(0), next(self._numbers)
        while (job := _timed_get(self._to_decode, stage)) is not None:
            begin = time.perf_counter()
            waited = self._decode_one(job, number) if job.error is None and not job.moved else 0.0
            self._read_budget.give(_bytes(job.payload))
            job.payload = b""
            stage.blocked += waited
            stage.busy += time.perf_counter() - begin - waited
            begin = time.perf_counter()
            self._finish_one(job.batch)
            stage.blocked += time.perf_counter() - begin
        self._add("decode", stage)

    def _decode_one(self, job: Job, thread: int) -> float:
        """Decode into the job's row of the batch; return the seconds spent waiting for memory."""
        assert job.batch.inputs is not None
        preparer, waited = self._steps.preparer, 0.0
        try:
            if self._note is not None and self._note.is_suspect(job.item.key):
                job.filled = preparer.open_apart(job.payload).fill(job.batch.inputs, job.slot)
                return waited
            with nullcontext() if self._note is None else self._note.decoding(thread, job.item.key):
                opened = preparer.open(job.payload)
                begin = time.perf_counter()
                with self._held(opened.cost):
                    waited = time.perf_counter() - begin
                    job.filled = opened.fill(job.batch.inputs, job.slot)
        except DecodeError as error:
            job.error = error
        except MemoryError:
            job.error = DecodeError("out_of_memory", "There was not enough memory to decode it.")
        return waited

    @contextmanager
    def _held(self, count: int) -> Iterator[None]:
        self._decode_budget.take(count)
        try:
            yield
        finally:
            self._decode_budget.give(count)

    def _run(self) -> None:
        stage = Stage(0)
        while (asked := _timed_get(self._to_run, stage)) is not None:
            begin, (batch, rows) = time.perf_counter(), asked
            assert batch.inputs is not None
            found = self._steps.session.run_rows(batch.inputs, rows, self._steps.outputs)
            batch.take(rows, found)
            stage.busy += time.perf_counter() - begin
            if batch.count_down():
                _timed_put(self._done, self._without_inputs(batch), stage)
        self._add("model", stage)

    def _add(self, name: str, stage: Stage) -> None:
        total = self.stages[name]
        with self._totals:
            total.busy += stage.busy
            total.starved += stage.starved
            total.blocked += stage.blocked


def _bytes(payload: Payload) -> int:
    return len(payload) if isinstance(payload, bytes) else payload.nbytes


def _timed_get(channel: Channel[T], stage: Stage) -> T | None:
    begin = time.perf_counter()
    item = channel.get()
    stage.starved += time.perf_counter() - begin
    return item


def _timed_put(channel: Channel[T], item: T, stage: Stage) -> None:
    begin = time.perf_counter()
    channel.put(item)
    stage.blocked += time.perf_counter() - begin
