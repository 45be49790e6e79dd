"""Decodes JPEG on an NVIDIA GPU by nvImageCodec, for machines whose CPU cannot feed their GPU."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from fxengine.decode.picture import jpeg, turbojpeg
from fxengine.decode.picture.formats import Header, Picture
from fxengine.errors import DeviceError

read_header = turbojpeg.read_header
_local = threading.local()


def decode(data: bytes, header: Header, shrink: int = 1) -> Picture:
    """Return the picture as RGB, whole; raises DecodeError.

    What the GPU does not decode (CMYK, arithmetic coding, damage) goes to libjpeg-turbo, which also finds the words.

    Raises:
        DeviceError: nvImageCodec is not installed, or finds no GPU.
    """
    codec, decoder, settings = _decoder()
    picture = decoder.decode(codec.CodeStream(data), params=settings)
    if picture is None:
        return turbojpeg.decode(data, header, shrink)
    pixels = np.asarray(picture.cpu())
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        return turbojpeg.decode(data, header, shrink)
    return Picture(pixels, jpeg.orientation(data))


def _decoder() -> tuple[Any, Any, Any]:
    """Return this thread's decoder: one is for one thread."""
    if not hasattr(_local, "tools"):
        try:
            from nvidia import nvimgcodec
        except ImportError as error:
            raise DeviceError("Decoding on the GPU needs nvImageCodec: pip install 'fxengine[gpu-decode]'.") from error
        try:
            decoder = nvimgcodec.Decoder()
        except Exception as error:
            raise DeviceError(f"nvImageCodec does not start: {error} Leave `decode_on` at cpu.") from error
        # Orientation is ours to read: the resize turns the picture.
        settings = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
        _local.tools = nvimgcodec, decoder, settings
    tools: tuple[Any, Any, Any] = _local.tools
    return tools
