"""TIFFs: entries of their directories changed, repeated, removed, with others' types, counts and places."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from tests.hostile.fuzz.mutations import OF_BYTES, mutate, mutations
from tests.hostile.fuzz.pictures import MEGABYTES, encoded, prepare, read

__all__ = ["MEGABYTES", "inputs", "prepare", "read"]
_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339,
         347, 513, 514, 529, 530, 532, 34665, 34675, 50838, 0, 65535)  # fmt: skip
_COUNTS = (0, 1, 2, 3, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_PLACES = (0, 4, 8, 9, 2**31 - 1, 2**32 - 1)

SEEDS = [
    encoded("TIFF"),
    encoded("TIFF", "RGBA", compression="tiff_lzw"),
    encoded("TIFF", compression="tiff_adobe_deflate"),
    encoded("TIFF", compression="jpeg"),
    encoded("TIFF", "1", compression="group4"),
    encoded("TIFF", "P"),
    encoded("TIFF", "CMYK", compression="packbits"),
    encoded("TIFF", "I;16"),
    encoded("TIFF", big_tiff=True),
]

_numbers = st.sampled_from(_COUNTS) | st.integers(0, 2**32 - 1)
_entry = st.tuples(
    st.integers(0, 40),
    st.sampled_from(("tag", "type", "count", "value", "repeat", "next")),
    _numbers,
    st.integers(0, 99),
)


def _edited(seed: bytes, entries: list[tuple[int, str, int, int]]) -> bytes:
    """Return a little-endian TIFF of 32 bits with other entries in its first directory."""
    out, order = bytearray(seed), "<" if seed[:2] == b"II" else ">"
    if seed[2:4] not in (b"*\0", b"\0*"):
        return seed
    start = struct.unpack(f"{order}I", seed[4:8])[0]
    count = struct.unpack(f"{order}H", seed[start : start + 2])[0]
    for at, field, number, other in entries:
        place = start + 2 + 12 * (at % count)
        if field == "tag":
            out[place : place + 2] = struct.pack(f"{order}H", _TAGS[other % len(_TAGS)])
        elif field == "type":
            out[place + 2 : place + 4] = struct.pack(f"{order}H", other % 20)
        elif field == "count":
            out[place + 4 : place + 8] = struct.pack(f"{order}I", number)
        elif field == "value":
            out[place + 8 : place + 12] = struct.pack(
                f"{order}I", number if other % 2 else _PLACES[other % len(_PLACES)]
            )
        elif field == "repeat":
            from_place = start + 2 + 12 * (other % count)
            out[place : place + 12] = out[from_place : from_place + 12]
        else:
            end = start + 2 + 12 * count
            out[end : end + 4] = struct.pack(f"{order}I", start if other % 2 else number)
    return bytes(out)


def _made(seed: bytes, entries: list[tuple[int, str, int, int]], changes: list[object]) -> bytes:
    data = _edited(seed, entries)
    for change in changes:
        data = mutate(data, change)  # type: ignore[arg-type]
    return data


inputs = st.builds(
    _made,
    st.sampled_from(SEEDS),
    st.lists(_entry, max_size=5),
    st.just([]) | mutations(OF_BYTES, most=3),
)
