"""What a run is cut into: units, each one part of the store, whose rows are numbered before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

from fxengine.collect.item import Item
from fxengine.features.known import Plan
from fxengine.features.parts import part_path


@dataclass(frozen=True)
class Move:
    """A new input that has the content of one that is gone: a rename, whose row keeps its number and vector.

    Attributes:
        item: as it was when it was read.
        content_hash: SHA-256 of its bytes, in hex.
        part: the part that the row is in.
        row: the row's number.
    """

    item: Item
    content_hash: str
    part: Path
    row: int


class Task(NamedTuple):
    """One input that goes through a run.

    Attributes:
        item: the input.
        row: permanent number of its row; -1 where nothing is stored.
        part: the part that holds the row, or None.
        move: of a renamed input, where its row was; None of any other.
    """

    item: Item
    row: int = -1
    part: Path | None = None
    move: Move | None = None


@dataclass(frozen=True)
class Unit:
    """What is committed together: the rows of one part that a run computes.

    It says all that a run needs to know of it, so it can be run again, or elsewhere.

    Attributes:
        part: the part, be it new or there already.
        tasks: its inputs with the numbers of their rows, in the order of their ids.
    """

    part: Path
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class NewRows:
    """Inputs that have no row yet.

    Attributes:
        items: in the order of their ids.
        moves: id -> where the row of a renamed one was.
        first_row: number of the first row that is really new; those that follow are counted on.
        part_rows: rows of a new part.
        first_part: number of the first new part.
    """

    items: Iterable[Item]
    moves: Mapping[str, Move]
    first_row: int
    part_rows: int
    first_part: int = 0


def make_units(folder: Path, plan: Plan, new: NewRows) -> Iterator[Unit]:
    """Yield the units of a run: first the parts of the store with rows to compute again, then new ones."""
    for part, rows in plan.again.items():
        yield Unit(part, tuple(Task(item, row, part) for row, item in rows))
    waiting, row = iter(new.items), new.first_row
    for number in count(new.first_part):
        tasks, part = [], part_path(folder, number)
        for item in islice(waiting, new.part_rows):
            move = new.moves.get(item.key)
            tasks.append(Task(item, row, part) if move is None else Task(move.item, move.row, part, move))
            row += move is None
        if not tasks:
            return
        yield Unit(part, tuple(tasks))


def tasks_of(units: Iterable[Unit]) -> Iterator[Task]:
    """Yield the tasks of units one after another, so that a run need not pause between two of them."""
    for unit in units:
        yield from unit.tasks
