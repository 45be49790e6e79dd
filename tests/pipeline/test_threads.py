from __future__ import annotations

import threading
import time

import pytest

from fxengine.pipeline.queues import Budget, Channel, Stopped
from fxengine.pipeline.stages import Stage, bottleneck
from tests.conftest import PATIENCE, wait_until


def in_thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_a_budget_is_never_exceeded_but_by_one_that_is_alone() -> None:
    budget, lock, inside, peaks = Budget(100, threading.Event()), threading.Lock(), [0, 0], list[tuple[int, int]]()

    def hold(size: int) -> None:
        budget.take(size)
        with lock:
            inside[0] += size
            inside[1] += 1
            peaks.append((inside[0], inside[1]))
        time.sleep(0.002)
        with lock:
            inside[0] -= size
            inside[1] -= 1
        budget.give(size)

    threads = [in_thread(lambda size=size: hold(size)) for size in [30, 50, 250, 20, 90, 10, 100, 40] * 4]
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert max(total for total, count in peaks if count > 1) <= 100
    assert (250, 1) in peaks


def test_a_channel_keeps_order_bounds_and_ends() -> None:
    channel: Channel[int] = Channel(2, threading.Event())
    sent: list[int] = []

    def send() -> None:
        for i in range(6):
            channel.put(i)
            sent.append(i)
        channel.close()

    thread = in_thread(send)
    wait_until(lambda: len(sent) == 2)
    time.sleep(0.1)
    assert sent == [0, 1]
    assert [channel.get() for _ in range(7)] == [0, 1, 2, 3, 4, 5, None]
    thread.join(PATIENCE)


def test_stopping_wakes_whoever_waits() -> None:
    stop = threading.Event()
    channel: Channel[int] = Channel(1, stop)
    budget = Budget(10, stop)
    budget.take(10)
    stop.set()
    with pytest.raises(Stopped):
        channel.get()
    channel.put(1)
    with pytest.raises(Stopped):
        channel.put(2)
    with pytest.raises(Stopped):
        budget.take(1)


@pytest.mark.parametrize(
    ("starved", "bound"),
    [
        ({"read": 0.0, "decode": 0.1, "model": 0.2}, "model"),
        ({"read": 0.0, "decode": 0.2, "model": 8.0}, "decode"),
        ({"read": 0.1, "decode": 19.0, "model": 9.5}, "read"),
    ],
)
def test_the_last_stage_that_never_starves_bounds_the_run(starved: dict[str, float], bound: str) -> None:
    threads = {"read": 2, "decode": 2, "model": 1}
    stages = {name: Stage(threads[name], busy=1.0, starved=seconds) for name, seconds in starved.items()}
    assert bottleneck(stages, seconds=10.0) == bound
