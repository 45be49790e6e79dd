"""Computes units and commits each as soon as it is whole."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress

from fxengine.errors import StoreLocked
from fxengine.pipeline.lookahead import ahead
from fxengine.pipeline.sink import Sink
from fxengine.pipeline.stages import bottleneck
from fxengine.pipeline.summary import Progress, Watch
from fxengine.pipeline.threads import Pipeline
from fxengine.pipeline.units import Unit, tasks_of

_NEW_OBJECTS = 50_000


def run(units: Iterable[Unit], pipeline: Pipeline, sink: Sink, watch: Watch) -> None:
    """Run units one after another, without a pause between two; however it ends, what was finished is committed.

    Args:
        units: what to compute; each is made while the one before it is computed.
        pipeline: what computes it, new: it runs once.
        sink: where it goes; its summary says in the end how the run went.
        watch: whom it tells, and who may stop it.
    """
    summary, begin = sink.summary, time.perf_counter()
    total = sink.plan.new + sum(map(len, sink.plan.again.values()))
    try:
        with _seldom_collected(), closing(pipeline.results(tasks_of(ahead(units)))) as batches:
            for batch in batches:
                with undisturbed():
                    sink.take(batch)
                elapsed = time.perf_counter() - begin
                if watch.tell(Progress(sink.done, sum(summary.failed.values()), total, elapsed)):
                    summary.interrupted = True
                    break
    except KeyboardInterrupt:
        summary.interrupted = True
    except StoreLocked:  # what is not committed another process computes by now
        raise
    except BaseException:
        with suppress(Exception):  # where the disk is full this fails again; the first error says why
            sink.update.commit()
        raise
    try:
        with undisturbed():
            sink.update.commit()
    except KeyboardInterrupt:
        summary.interrupted = True
    summary.compute_seconds = time.perf_counter() - begin
    busy = sum(stage.busy for stage in pipeline.stages.values()) or 1.0
    summary.stage_share = {name: round(stage.busy / busy, 4) for name, stage in pipeline.stages.items()}
    summary.bound_by = bottleneck(pipeline.stages, summary.compute_seconds)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Let Python look for cycles after 50,000 new objects instead of 700.

    A run makes a dozen objects for every row and keeps them until a part is whole, none of them in a cycle: looking
    through them again and again takes a sixth of the time of short texts.
    """
    usual = gc.get_threshold()
    gc.set_threshold(max(usual[0], _NEW_OBJECTS) if usual[0] else 0, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold Ctrl-C, SIGTERM and SIGHUP back until what is being written is written; a second one breaks through."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    ending = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ignored = [number for number in ending if signal.getsignal(number) is signal.SIG_IGN]  # as `nohup` leaves it
    kept = {number: signal.signal(number, note) for number in ending if number not in ignored}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
