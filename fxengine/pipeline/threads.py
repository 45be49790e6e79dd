"""The threads of an extraction: read, decode, run, each overlapping the others, in bounded memory.

    feed -> [readers] -> [decoders] -> [runners] -> results, in the order of the inputs

This is the only file that starts threads.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fxengine.backbones.spec import Preprocess
from fxengine.collect.item import Item
from fxengine.collect.local import read_input
from fxengine.decode import picture
from fxengine.decode.picture import Limits
from fxengine.decode.picture.apart import decode_apart
from fxengine.errors import DecodeError
from fxengine.execute.session import Session
from fxengine.features.crash_note import CrashNote
from fxengine.pipeline.queues import Budget, Channel, Stopped

T = TypeVar("T")

READ_AHEAD_BYTES = 64 << 20
DECODE_BYTES = 512 << 20
_READERS = 2
_SPARE_BUFFERS = 3  # batches that are being filled while every runner has one
_WINDOW = 256  # batches that may be finished ahead of one that takes long


@dataclass
class Stage:
    """What one stage's threads spent their time on, in seconds added up over the threads.

    Attributes:
        threads: how many.
        busy: working.
        starved: waiting for something to work on.
        blocked: waiting to hand on what was done.
    """

    threads: int
    busy: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0


@dataclass
class Job:
    """One input on its way through the stages.

    Attributes:
        item: the input; once read, with the size and time that the file had then.
        content_hash: SHA-256 of its bytes in hex.
        width: upright width in pixels.
        height: upright height in pixels.
        error: why there is no vector, or None.
        moved: whether its bytes are those of a row whose input is gone; then it was not decoded.
    """

    item: Item
    batch: Batch
    slot: int
    data: bytes = b""
    content_hash: str | None = None
    width: int | None = None
    height: int | None = None
    error: DecodeError | None = None
    moved: bool = False


@dataclass
class Batch:
    """Consecutive inputs that go through the model together.

    Attributes:
        number: its place in the run.
        images: uint8 [batch_size, height, width, 3]; None once the model has run.
        jobs: one for each row of `images`, from the front.
        outputs: output name -> float32 [batch_size, dim], once the model has run; rows of failed jobs hold anything.
    """

    number: int
    images: np.ndarray | None
    jobs: list[Job] = field(default_factory=list)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    unfinished: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def run_on_streams(session: Session, images: np.ndarray, output: str) -> np.ndarray:
    """Return one output, float32 [n, dim], of pictures [n, height, width, 3], by a thread for each stream."""
    size = session.batch_size
    chunks = [images[i : i + size] for i in range(0, len(images), size)]
    with ThreadPoolExecutor(session.streams) as pool:
        return np.concatenate(list(pool.map(lambda chunk: session.run(chunk, (output,))[output], chunks)))


class Pipeline:
    """Runs inputs through read, decode and model.

    Args:
        session: the loaded backbone.
        recipe: how pictures are prepared.
        outputs: which of its outputs to compute.
        decoders: decoding threads.
        limits: what is refused.
        known_content: content hashes whose vectors need not be computed.
        note: where to note what is being decoded, or None.
        decode_on: "cpu" or "gpu".
    """

    def __init__(
        self,
        session: Session,
        recipe: Preprocess,
        outputs: tuple[str, ...],
        decoders: int,
        limits: Limits,
        known_content: Container[str] = frozenset(),
        note: CrashNote | None = None,
        decode_on: str = "cpu",
    ) -> None:
        self.stages = {"read": Stage(_READERS), "decode": Stage(decoders), "model": Stage(session.streams)}
        self._session, self._recipe, self._outputs = session, recipe, outputs
        self._batch_size = session.batch_size  # the session's own may shrink in the run
        self._limits, self._known_content, self._note = limits, known_content, note
        self._decode_on_gpu = decode_on == "gpu"
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._to_read: Channel[Job] = Channel(_READERS * 2, self._stop)
        self._to_decode: Channel[Job] = Channel(decoders * 4, self._stop)
        buffers = session.streams + _SPARE_BUFFERS
        self._to_run: Channel[Batch] = Channel(buffers, self._stop)
        self._done: Channel[Batch] = Channel(buffers, self._stop)
        self._buffers: Channel[np.ndarray] = Channel(buffers, self._stop)
        self._read_budget = Budget(READ_AHEAD_BYTES, self._stop)
        self._decode_budget = Budget(DECODE_BYTES, self._stop)
        self._window = Budget(_WINDOW, self._stop)
        self._totals = threading.Lock()
        for _ in range(buffers):
            self._buffers.put(np.zeros((self._batch_size, recipe.height, recipe.width, 3), np.uint8))

    def results(self, items: Iterable[Item]) -> Generator[Batch, None, None]:
        """Yield finished batches in the order of `items`; closing the generator stops every thread."""
        work: list[tuple[Callable[..., None], tuple[object, ...], int]] = [
            (self._feed, (items,), 1),
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
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

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

    def _feed(self, items: Iterable[Item]) -> None:
        """Deal the inputs out to batches; a batch begins as soon as a buffer is free."""
        batch: Batch | None = None
        number = 0
        for item in items:
            if batch is None:
                self._window.take(1)
                batch = Batch(number, self._buffers.get(), unfinished=1)
                number += 1
            job = Job(item, batch, len(batch.jobs))
            with batch.lock:
                batch.jobs.append(job)
                batch.unfinished += 1
            self._to_read.put(job)
            if len(batch.jobs) == self._batch_size:
                self._finish_one(batch)
                batch = None
        if batch is not None:
            self._finish_one(batch)

    def _finish_one(self, batch: Batch) -> None:
        """Count down what a batch waits for: each of its jobs, and the feeder's word that it is complete."""
        with batch.lock:
            batch.unfinished -= 1
            complete = batch.unfinished == 0
        if complete:
            self._to_run.put(batch)

    def _read(self) -> None:
        stage = Stage(0)
        while (job := _timed_get(self._to_read, stage)) is not None:
            begin = time.perf_counter()
            size = max(0, min(job.item.size, self._limits.max_bytes))
            self._read_budget.take(size)
            taken = time.perf_counter()
            stage.blocked += taken - begin
            try:
                job.data, item = read_input(job.item, self._limits.max_bytes)
                self._read_budget.give(size - len(job.data))
                job.item = item
                job.content_hash = hashlib.sha256(job.data).hexdigest()
                job.moved = job.content_hash in self._known_content
            except DecodeError as error:
                job.error = error
                self._read_budget.give(size)
            stage.busy += time.perf_counter() - taken
            _timed_put(self._to_decode, job, stage)
        self._add("read", stage)

    def _decode(self) -> None:
        stage, number = Stage(0), next(self._numbers)
        while (job := _timed_get(self._to_decode, stage)) is not None:
            begin = time.perf_counter()
            waited = self._decode_one(job, number) if job.error is None and not job.moved else 0.0
            self._read_budget.give(len(job.data))
            job.data = b""
            stage.blocked += waited
            stage.busy += time.perf_counter() - begin - waited
            begin = time.perf_counter()
            self._finish_one(job.batch)
            stage.blocked += time.perf_counter() - begin
        self._add("decode", stage)

    def _decode_one(self, job: Job, thread: int) -> float:
        """Decode into the job's row of the batch; return the seconds spent waiting for memory."""
        assert job.batch.images is not None
        out, waited = job.batch.images[job.slot], 0.0
        try:
            if self._note is not None and self._note.is_suspect(job.item.key):
                job.width, job.height = decode_apart(job.data, self._recipe, self._limits, out)
                return waited
            with nullcontext() if self._note is None else self._note.decoding(thread, job.item.key):
                header = picture.read_header(job.data, self._limits)
                begin = time.perf_counter()
                decoder = picture.choose_decoder(header, self._decode_on_gpu)
                with self._held(picture.memory_needed(header, self._recipe, decoder)):
                    waited = time.perf_counter() - begin
                    job.width, job.height = picture.decode_into(job.data, header, self._recipe, out, decoder)
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
        while (batch := _timed_get(self._to_run, stage)) is not None:
            begin = time.perf_counter()
            assert batch.images is not None
            if any(job.error is None and not job.moved for job in batch.jobs):
                batch.outputs = self._session.run(batch.images[: len(batch.jobs)], self._outputs)
            images, batch.images = batch.images, None
            stage.busy += time.perf_counter() - begin
            self._buffers.put(images)
            _timed_put(self._done, batch, stage)
        self._add("model", stage)

    def _add(self, name: str, stage: Stage) -> None:
        total = self.stages[name]
        with self._totals:
            total.busy += stage.busy
            total.starved += stage.starved
            total.blocked += stage.blocked


def bottleneck(stages: dict[str, Stage], seconds: float) -> str:
    """Return the stage that bound the run: the last one that was hardly ever waiting for work.

    A stage that seldom starves keeps the ones before it waiting; the stages after it starve.
    """
    for name in reversed(stages):
        stage = stages[name]
        if stage.starved < 0.15 * stage.threads * seconds:
            return name
    return max(stages, key=lambda name: stages[name].busy / stages[name].threads)


def _timed_get(channel: Channel[T], stage: Stage) -> T | None:
    begin = time.perf_counter()
    item = channel.get()
    stage.starved += time.perf_counter() - begin
    return item


def _timed_put(channel: Channel[T], item: T, stage: Stage) -> None:
    begin = time.perf_counter()
    channel.put(item)
    stage.blocked += time.perf_counter() - begin
