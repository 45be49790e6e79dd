from __future__ import annotations

import threading
import time

import pytest

from fxengine.serving.opened import Once, Opened, Refused
from tests.conftest import PATIENCE


def test_a_value_is_made_once_by_whoever_asks_first() -> None:
    once, made = Once(), list[int]()

    def make() -> int:
        time.sleep(0.05)
        made.append(1)
        return len(made)

    found = list[int]()
    asking = [threading.Thread(target=lambda: found.append(once("a", make))) for _ in range(8)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert (found, made) == ([1] * 8, [1])


def test_others_do_not_wait() -> None:
    once, begun, go = Once(), threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go.wait(PATIENCE)
        return "slow"

    waiting = threading.Thread(target=lambda: once("slow", slow))
    waiting.start()
    assert begun.wait(PATIENCE)
    assert once("quick", lambda: "quick") == "quick"
    go.set()
    waiting.join()
    assert once("slow", lambda: "again") == "slow"


def test_what_fails_is_made_anew_and_crowds_nothing_out() -> None:
    once = Once(2)
    once("kept", lambda: 1)
    for i in range(5):
        with pytest.raises(ZeroDivisionError):
            once(i, lambda: 1 // 0)
    assert once("kept", lambda: 2) == 1
    assert once(0, lambda: 3) == 3


def test_only_the_last_ones_are_kept() -> None:
    once = Once(2)
    for name in ("a", "b", "a", "c"):
        once(name, lambda name=name: name)  # type: ignore[misc]
    assert once("a", lambda: "anew") == "a"
    assert once("b", lambda: "anew") == "anew"


def test_rows_are_found_by_their_numbers(opened: Opened) -> None:
    for place, row in enumerate(opened.rows.tolist()):
        assert opened.place_of(row) == place
    with pytest.raises(Refused, match="no row 10000"):
        opened.place_of(10_000)
    failed = opened.table["id"].to_pylist().index("cats/broken.jpg")
    assert opened.vector_places[failed] == -1
    with pytest.raises(Refused, match="has no vector"):
        opened.vector_place_of(int(opened.rows[failed]))
