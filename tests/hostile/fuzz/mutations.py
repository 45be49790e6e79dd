"""Mutations of files that consist of pieces: hypothesis shrinks what it finds to the fewest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

_ODD = (0, 1, 2, 0x7F, 0x80, 0xFF)
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Mutation(NamedTuple):
    """One change: `at` and `place` count round, so that they fit a file of any length."""

    kind: str
    at: int
    place: int
    value: int


def mutations(kinds: Sequence[str], most: int = 6) -> st.SearchStrategy[list[Mutation]]:
    """Return a strategy of mutations of these kinds."""
    value = st.sampled_from(_EDGES) | st.integers(0, 2**32 - 1)
    one = st.builds(Mutation, st.sampled_from(kinds), st.integers(0, 2**16), st.integers(0, 2**20), value)
    return st.lists(one, min_size=1, max_size=most)


OF_BYTES = ("byte", "bit", "word", "cut", "insert", "drop", "fill")


def mutate(data: bytes, mutation: Mutation) -> bytes:
    """Return bytes with one change."""
    if not data:
        return bytes([mutation.value & 0xFF])
    at, out = mutation.place % len(data), bytearray(data)
    if mutation.kind == "byte":
        out[at] = _ODD[mutation.value % len(_ODD)]
    elif mutation.kind == "bit":
        out[at] ^= 1 << (mutation.value & 7)
    elif mutation.kind == "word":
        size = (2, 4)[mutation.at & 1]
        order = ("little", "big")[mutation.at >> 1 & 1]
        out[at : at + size] = (mutation.value & ((1 << 8 * size) - 1)).to_bytes(size, order)  # type: ignore[arg-type]
    elif mutation.kind == "cut":
        del out[at:]
    elif mutation.kind == "insert":
        out[at:at] = mutation.value.to_bytes(4, "big") * (1 + mutation.at % 16)
    elif mutation.kind == "drop":
        del out[at : at + 1 + mutation.value % 64]
    else:
        out[at : at + 1 + mutation.at % 64] = bytes([mutation.value & 0xFF]) * (1 + mutation.at % 64)
    return bytes(out)


OF_PIECES = ("remove", "repeat", "swap", "inside", *OF_BYTES)


def mutate_pieces(pieces: Sequence[bytes], changes: Sequence[Mutation]) -> list[bytes]:
    """Return a file's pieces, some removed, repeated, swapped or changed inside."""
    made = list(pieces)
    for change in changes:
        if not made:
            break
        at = change.at % len(made)
        if change.kind == "remove":
            del made[at]
        elif change.kind == "repeat":
            made[at:at] = [made[at]] * (1 + change.value % 40)
        elif change.kind == "swap":
            other = change.place % len(made)
            made[at], made[other] = made[other], made[at]
        elif change.kind == "inside":
            made[at] = mutate(made[at], change._replace(kind="word"))
        else:
            made[at] = mutate(made[at], change)
    return made


def of_pieces(seeds: Sequence[bytes], parted: Callable[[bytes], list[bytes]]) -> st.SearchStrategy[bytes]:
    """Return a strategy of files made of sound ones by changes of their pieces."""
    return st.builds(
        lambda seed, changes: b"".join(mutate_pieces(parted(seed), changes)),
        st.sampled_from(seeds),
        mutations(OF_PIECES),
    )
