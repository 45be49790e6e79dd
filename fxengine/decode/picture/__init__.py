"""Decoding: encoded bytes in, RGB uint8 at the recipe's size out. Passive: no thread is started here.

sniff (what is it?) -> header (how large? refuse) -> decode (pixels) -> resize (into the batch)
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Protocol

import numpy as np

from fxengine.backbones.spec import PictureRecipe
from fxengine.collect import memory
from fxengine.decode.limits import Limits
from fxengine.decode.picture import formats
from fxengine.decode.picture.formats import Header, Picture
from fxengine.errors import DecodeError, InputError

__all__ = [
    "DECODERS",
    "Decoder",
    "Header",
    "Picture",
    "choose_decoder",
    "decode_into",
    "load_decoder",
    "memory_needed",
    "read_header",
    "versions",
]

# To add a decoder: write decode/picture/<library>.py with read_header and decode, and name it here and, for the formats
# that it decodes first, below.
DECODERS = {
    "nvimgcodec": "fxengine.decode.picture.nvimgcodec",
    "pillow": "fxengine.decode.picture.pillow",
    "turbojpeg": "fxengine.decode.picture.turbojpeg",
}
_FIRST = {formats.JPEG: "turbojpeg"}
_ON_GPU = {formats.JPEG: "nvimgcodec"}


class Decoder(Protocol):
    """A module of `DECODERS`."""

    def read_header(self, data: bytes, format_name: str, /) -> Header:
        """Return what the header of a file of this format says; raises DecodeError where it is damaged."""

    def decode(self, data: bytes, header: Header, shrink: int = 1, /) -> Picture:
        """Return the picture, where it can with both edges divided by `shrink`; raises DecodeError."""


def load_decoder(name: str) -> Decoder:
    """Return the decoder called `name`; raises InputError where there is none."""
    if name not in DECODERS:
        raise InputError(f"There is no decoder {name!r}. Available: {', '.join(sorted(DECODERS))}.")
    module: Decoder = import_module(DECODERS[name])
    return module


def read_header(data: bytes, limits: Limits, decoder: str | None = None) -> Header:
    """Return what the header says, checked against the limits.

    Args:
        data: the encoded file.
        limits: what is refused.
        decoder: a name in `DECODERS`; by default the first choice for the format.

    Raises:
        DecodeError: not an image that is decoded, damaged, or over a limit.
    """
    if len(data) > limits.max_bytes:
        raise DecodeError("too_large", f"{len(data)} bytes; `max_bytes` allows {limits.max_bytes}.")
    name = formats.sniff(data)
    header = load_decoder(decoder or _FIRST.get(name, "pillow")).read_header(data, name)
    formats.check_size(header.width, header.height, limits)
    formats.check_memory(header, len(data), limits)
    return header


def choose_decoder(header: Header, on_gpu: bool) -> str:
    """Return the name of the decoder for a picture; without a GPU, and for what no GPU decodes, the CPU's first one."""
    return (_ON_GPU if on_gpu else _FIRST).get(header.format, "pillow")


def memory_needed(header: Header, recipe: PictureRecipe, decoder: str | None = None) -> int:
    """Return the bytes that decoding a picture for a recipe takes, estimated from above; a GPU decodes it whole."""
    return header.memory_at(1 if decoder == "nvimgcodec" else recipe.shrink(header.width, header.height))


def decode_into(
    data: bytes, header: Header, recipe: PictureRecipe, out: np.ndarray, decoder: str | None = None
) -> tuple[int, int]:
    """Write the picture, upright and at the recipe's size, into `out`, uint8 [height, width, 3].

    Returns:
        Its own upright width and height in pixels.

    Raises:
        DecodeError: the data is truncated or damaged, or there is not the memory; `out` is then undefined.
    """
    from fxengine.decode.picture.resize import resize_into

    module = load_decoder(decoder or choose_decoder(header, on_gpu=False))
    shrink = recipe.shrink(header.width, header.height)
    memory.require(memory_needed(header, recipe, decoder), "Decoding it")
    picture = module.decode(data, header, shrink)
    if picture.pixels.shape not in {(-(-header.height // f), -(-header.width // f), 3) for f in (1, shrink)}:
        raise DecodeError("corrupt", "Its pixels are not as many as its header says.")
    resize_into(picture.pixels, picture.orientation, recipe, out, (header.width, header.height))
    return formats.upright_size(header.width, header.height, picture.orientation)


def versions() -> dict[str, str]:
    """Return the decoding libraries and their versions, for a store's metadata."""
    from fxengine.decode.picture import resize

    names = ["simplejpeg", "pillow", "pillow-heif"] + (["cykooz-resizer"] if resize.simd else [])
    return {name: version(name) for name in names}
