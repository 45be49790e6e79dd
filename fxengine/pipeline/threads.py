"""The threads that drive a run: read, decode, model, each overlapping the others, in bounded memory.

    feed -> [readers] -> [decoders] -> [runners] -> results, in the order of the inputs

Extraction, prediction, verification and queries are all driven by it. No other file starts threads of its own:
elsewhere a pool runs one function over blocks.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fxengine.collect.item import Item, Payload, sha256_of
from fxengine.collect.stored import bytes_held
from fxengine.decode import Filled, Inputs, Preparer
from fxengine.errors import DecodeError
from fxengine.execute.session import Session, in_order
from fxengine.execute.shapes import Dealer, Rows, cut
from fxengine.features.crash_note import AllSuspect, CrashNote
from fxengine.pipeline.lookahead import READERS
from fxengine.pipeline.queues import Budget, Channel, Stopped
from fxengine.pipeline.stages import Stage
from fxengine.pipeline.units import Task

T = TypeVar("T")

READ_AHEAD_BYTES = 64 << 20
DECODE_BYTES = 512 << 20
_TOGETHER_BYTES = 1 << 16  # of inputs that are handed on at once, one more beyond it
_WINDOWS = 2
_SPARE_BUFFERS = 3  # batches that are being filled while every runner has one
_WINDOW = 256  # batches that may be finished ahead of one that takes long
_NOTHING, _NO_MEMORY = Filled(), DecodeError("out_of_memory", "There was not enough memory to decode it.")
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
        readers: how many inputs are read at once.
    """

    read: Callable[[Item, int], tuple[Payload, Item]]
    max_bytes: int
    preparer: Preparer
    session: Session
    outputs: tuple[str, ...]
    readers: int = READERS


@dataclass(slots=True)
class Job:
    """One input on its way through the stages.

    Attributes:
        task: what was asked for.
        item: the input; once read, with the size and time that it had then.
        slot: its row of the batch.
        payload: what it holds, from when it was read until it was decoded.
        content_hash: SHA-256 of what it holds, in hex.
        filled: what the store says of it, once decoded.
        error: why there is no vector, or None.
        moved: whether its content is that of a row whose input is gone; then it was not decoded.
    """

    task: Task
    item: Item
    slot: int
    payload: Payload = b""
    content_hash: str | None = None
    filled: Filled = _NOTHING
    error: DecodeError | None = None
    moved: bool = False


@dataclass
class Batch:
    """Consecutive inputs that are handed to the model together, which takes them in one run or in several.

    Attributes:
        number: its place in the run.
        inputs: name -> array [rows of a window, ...]; None once the model has run.
        dealer: says which of its rows are run at once.
        jobs: one for each row of the inputs, from the front.
        outputs: output name -> float32 [jobs, dim], once the model has run; rows of failed jobs hold anything, and the
            last ones may be left out.
        undecoded: jobs that were handed on together and are not decoded, and the feeder's word that these are all.
        unrun: runs that were dealt out and did not end, and the word that these are all.
    """

    number: int
    inputs: Inputs | None
    dealer: Dealer
    jobs: list[Job] = field(default_factory=list)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    undecoded: int = 1
    unrun: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def deal(self, fine: Sequence[int]) -> tuple[list[Rows], bool]:
        """Take what was decoded together; return what can be run, and whether all of the batch was run before."""
        with self.lock:
            runs = self.dealer.ready(fine)
            self.undecoded -= 1
            if not self.undecoded:
                runs += self.dealer.rest()
            self.unrun += len(runs) - (not self.undecoded)
            return runs, not self.unrun

    def take(self, rows: Rows, found: Mapping[str, np.ndarray]) -> bool:
        """Take what the model gave for some of the rows; tell whether all of the batch was run."""
        with self.lock:
            if not self.outputs:
                if isinstance(rows, slice) and self.unrun == 1:
                    self.unrun, self.outputs = 0, dict(found)
                    return True
                assert self.inputs is not None
                count = len(next(iter(self.inputs.values())))
                self.outputs = {name: np.zeros((count, *v.shape[1:]), v.dtype) for name, v in found.items()}
        for name, values in found.items():
            self.outputs[name][rows] = values
        with self.lock:
            self.unrun -= 1
            if self.unrun:
                return False
        self.outputs = {name: values[: len(self.jobs)] for name, values in self.outputs.items()}
        return True


_Together = tuple[Batch, list[Job]]  # some jobs of a batch, which one thread reads, and one decodes


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
        note: CrashNote | AllSuspect | None = None,
    ) -> None:
        session = steps.session
        self._batch_limits = steps.preparer.window(session.batch_size)
        # What is read together comes from one file, in order, and goes on to the first thread that is free.
        readers = steps.readers if self._batch_limits.together == 1 or steps.readers > READERS else 1
        self.stages = {"read": Stage(readers), "decode": Stage(decoders), "model": Stage(session.streams)}
        self._steps, self._known_content, self._note = steps, known_content, note
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._to_read: Channel[_Together] = Channel(steps.readers * 2, self._stop)
        self._to_decode: Channel[_Together] = Channel(decoders * 4, self._stop)
        # A window of several runs keeps every runner at work: while it does, the next one is filled.
        buffers = _WINDOWS if self._batch_limits.size is not None else session.streams + _SPARE_BUFFERS
        if steps.readers > READERS:  # each of them wants an input that it waits for, and one that waits for it
            buffers += -(-2 * steps.readers // self._batch_limits.rows)
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
        """Yield finished batches in the order of the tasks, each whole until the next one is asked for; closing the
        generator stops every thread.

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
                    finished = waiting.pop(number)
                    yield finished
                    finished.jobs, finished.outputs = [], {}  # this thread and others hold it until the next one comes
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
        jobs: list[Job] = []
        number = size = begun = 0
        for task in tasks:
            if batch is None:
                batch, size, begun = self._begin(number), 0, 0
                number += 1
            job = Job(task, task.item, len(batch.jobs))
            if task.move is not None:
                job.content_hash, job.moved = task.move.content_hash, True
            batch.jobs.append(job)
            jobs.append(job)
            size += max(0, task.item.size)
            full = self._is_full(batch, size)
            if full or len(jobs) == self._batch_limits.together or size - begun >= _TOGETHER_BYTES:
                self._hand_on(batch, jobs)
                jobs, begun = [], size
            if full:
                self._deal(batch, [])
                batch = None
        if batch is not None:
            self._hand_on(batch, jobs)
            self._deal(batch, [])

    def _begin(self, number: int) -> Batch:
        self._window.take(1)
        inputs = self._buffers.get()
        assert inputs is not None, "the buffers are never closed"
        return Batch(number, inputs, Dealer(inputs, self._steps.session.batch_size))

    def _is_full(self, batch: Batch, size: int) -> bool:
        limits = self._batch_limits
        return len(batch.jobs) == limits.rows or (limits.size is not None and size >= limits.size)

    def _hand_on(self, batch: Batch, jobs: list[Job]) -> None:
        if jobs:
            with batch.lock:
                batch.undecoded += 1
            self._to_read.put((batch, jobs))

    def _deal(self, batch: Batch, jobs: Sequence[Job]) -> None:
        """Deal out to the runners what jobs that were decoded together make possible."""
        runs, done = batch.deal([job.slot for job in jobs if job.error is None and not job.moved])
        for rows in runs:
            self._to_run.put((batch, rows))
        if done:
            self._done.put(self._without_inputs(batch))

    def _without_inputs(self, batch: Batch) -> Batch:
        """Return a batch that the model has run; its inputs serve the next one."""
        assert batch.inputs is not None
        self._buffers.put(batch.inputs)
        batch.inputs = None
        return batch

    def _read(self) -> None:
        stage = Stage(0)
        while (together := _timed_get(self._to_read, stage)) is not None:
            begin, most, jobs = time.perf_counter(), self._steps.max_bytes, together[1]
            size = sum(bytes_held(job.item, most) for job in jobs if not job.moved)
            self._read_budget.take(size)
            taken = time.perf_counter()
            stage.blocked += taken - begin
            for job in jobs:
                if not job.moved:
                    self._read_one(job)
            self._read_budget.give(size - sum(_bytes(job.payload) for job in jobs))  # what is not needed goes back
            stage.busy += time.perf_counter() - taken
            _timed_put(self._to_decode, together, stage)
        self._add("read", stage)

    def _read_one(self, job: Job) -> None:
        try:
            job.payload, job.item = self._steps.read(job.item, self._steps.max_bytes)
            job.content_hash = job.item.content_hash or sha256_of(job.payload)
            job.moved = job.content_hash in self._known_content
        except DecodeError as error:
            job.error, job.content_hash = error.with_traceback(None), job.item.content_hash

    def _decode(self) -> None:
        stage, number = Stage(0), next(self._numbers)
        while (together := _timed_get(self._to_decode, stage)) is not None:
            begin, (batch, jobs) = time.perf_counter(), together
            assert batch.inputs is not None
            wanted = [job for job in jobs if job.error is None and not job.moved]
            if self._batch_limits.together > 1:
                waited = self._decode_together(wanted, batch.inputs)
            else:
                waited = sum(self._decode_one(job, batch.inputs, number) for job in wanted)
            self._read_budget.give(sum(_bytes(job.payload) for job in jobs))
            for job in jobs:
                job.payload = b""
            stage.blocked += waited
            stage.busy += time.perf_counter() - begin - waited
            begin = time.perf_counter()
            self._deal(batch, jobs)
            stage.blocked += time.perf_counter() - begin
        self._add("decode", stage)

    def _decode_one(self, job: Job, inputs: Inputs, thread: int) -> float:
        """Decode into the job's row of the inputs; return the seconds spent waiting for memory."""
        preparer, waited = self._steps.preparer, 0.0
        try:
            if self._note is not None and self._note.is_suspect(job.item.key):
                job.filled = preparer.open_apart(job.payload).fill(inputs, job.slot)
                return waited
            with nullcontext() if self._note is None else self._note.decoding(thread, job.item.key):
                opened = preparer.open(job.payload)
                begin = time.perf_counter()
                with self._held(opened.cost):
                    waited = time.perf_counter() - begin
                    job.filled = opened.fill(inputs, job.slot)
        except DecodeError as error:
            job.error = error.with_traceback(None)  # which would keep what it came through until a cycle is looked for
        except MemoryError:
            job.error = _NO_MEMORY
        return waited

    def _decode_together(self, jobs: Sequence[Job], inputs: Inputs) -> float:
        """Decode some at once; return the seconds spent waiting for memory."""
        begin = time.perf_counter()
        with self._held(self._batch_limits.cost * sum(_bytes(job.payload) for job in jobs)):
            waited = time.perf_counter() - begin
            payloads, slots = [job.payload for job in jobs], [job.slot for job in jobs]
            try:
                found: Sequence[Filled | DecodeError] = self._steps.preparer.fill_together(payloads, inputs, slots)
            except MemoryError:
                found = [_NO_MEMORY] * len(jobs)
        for job, each in zip(jobs, found, strict=True):
            if isinstance(each, DecodeError):
                job.error = each
            else:
                job.filled = each
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
            done = batch.take(rows, found)
            stage.busy += time.perf_counter() - begin
            if done:
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
