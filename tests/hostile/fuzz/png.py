"""PNGs: chunks changed, repeated, removed, with and without the checksum that fits."""

from __future__ import annotations

import struct
import zlib

from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tests.hostile.fuzz.mutations import OF_PIECES, mutate_pieces, mutations
from tests.hostile.fuzz.pictures import MEGABYTES, encoded, prepare, read

__all__ = ["MEGABYTES", "inputs", "prepare", "read"]
_MARK = b"\x89PNG\r\n\x1a\n"


def chunks(data: bytes) -> list[bytes]:
    """Return the chunks of a sound PNG: their types and what is in them."""
    found, at = list[bytes](), len(_MARK)
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        found.append(data[at + 4 : at + 8 + length])
        at += 12 + length
    return found


def joined(made: list[bytes], *, true: bool) -> bytes:
    """Return chunks as a file; where not `true`, with a wrong length or checksum in each third."""
    out = [_MARK]
    for i, chunk in enumerate(made):
        wrong = 0 if true or i % 3 else 1
        out += [struct.pack(">I", max(0, len(chunk) - 4) + wrong), chunk, struct.pack(">I", zlib.crc32(chunk) ^ wrong)]
    return b"".join(out)


def _texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 300, zip=True)
    info.add_itxt("Title", "y" * 50, zip=True)
    return info


SEEDS = [
    encoded("PNG"),
    encoded("PNG", "RGBA", pnginfo=_texts()),
    encoded("PNG", "P", transparency=0),
    encoded("PNG", "1", icc_profile=bytes(300)),
    encoded("PNG", "I;16") if hasattr(Image, "core") else b"",
    encoded("PNG", save_all=True, append_images=[Image.new("RGB", (64, 48))] * 3),
]
inputs = st.builds(
    lambda seed, changes, true: joined(mutate_pieces(chunks(seed), changes), true=true),
    st.sampled_from(SEEDS),
    mutations(OF_PIECES),
    st.sampled_from([True, True, True, False]),
)
