"""Rows that an index is asked for before it holds them, and all that show the same with them.

Where a store has siblings of every photo (crops, frames of a shot, a burst), a row whose siblings are in the index is
far easier to place than a photo of which there is nothing: a promise that was measured so is not kept. So they are held
out together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.groups import SIBLINGS, WHITENED_FROM, by_chance, learn_whitening

_SHARE = 10  # one row in so many is held out at most
_LARGE = 20  # what one row in so many is a sibling of is no group of siblings
_READ = 65_536  # rows

Read = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class HeldOut:
    """Rows that are held out.

    Attributes:
        rows: int64 [n], their places, ascending.
        asked: int64 [q], places of those that are asked for.
        group: int64 [q], siblings have the same number.
    """

    rows: np.ndarray
    asked: np.ndarray
    group: np.ndarray


NOTHING = HeldOut(*(np.empty(0, np.int64),) * 3)


def hold_out(read: Read, rows: int, most: int, modality: str) -> HeldOut:
    """Return rows drawn at random with their siblings, a tenth of all at most, and which of them to ask for.

    Args:
        read: places, int64 [k] ascending, to raw vectors [k, dim].
        rows: how many there are.
        most: rows to ask for at most.
        modality: "picture" or "text".
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(rows)
    seeds = order[: min(most, rows // _SHARE)]
    if not len(seeds):
        return NOTHING
    group = np.full(rows, -1)
    room = rows // _SHARE
    for number, members in enumerate(_siblings(read, seeds, order[:WHITENED_FROM], rows, SIBLINGS[modality])):
        new = members[group[members] < 0]
        if len(members) <= max(1, rows // _LARGE) and len(new) <= room:
            group[new], room = number, room - len(new)
    if (group < 0).all():  # all rows are siblings: there is no other photo
        group[seeds] = np.arange(len(seeds))
    out = np.flatnonzero(group >= 0)
    first = seeds[group[seeds] >= 0]
    others = rng.permutation(np.setdiff1d(out, first))
    asked = np.sort(np.concatenate([first, others[: most - len(first)]]))
    return HeldOut(out, asked, group[asked])


def _siblings(read: Read, seeds: np.ndarray, some: np.ndarray, rows: int, least: float) -> list[np.ndarray]:
    """Return of every seed the places of those that are as like it as siblings are, itself among them."""
    whitening = learn_whitening(read(np.sort(some)))
    least = max(least, by_chance(rows, whitening.turn.shape[1]))
    ascending = np.argsort(seeds)
    asked = np.empty((len(seeds), whitening.turn.shape[1]), np.float32)
    asked[ascending] = whitening(read(seeds[ascending]))
    seed, place = [np.arange(len(seeds))], [seeds]
    for start in range(0, rows, _READ):
        vectors, at = read(np.arange(start, min(rows, start + _READ))), start
        for block in in_blocks(vectors):
            a, b = np.nonzero(asked @ whitening(block).T >= least)
            seed, place, at = [*seed, a], [*place, b + at], at + len(block)
    of, members = np.concatenate(seed), np.concatenate(place)
    by_seed = np.argsort(of, kind="stable")
    ends = np.cumsum(np.bincount(of, minlength=len(seeds)))[:-1]
    return [np.unique(each) for each in np.split(members[by_seed], ends)]
