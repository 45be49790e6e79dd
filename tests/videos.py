"""Videos for tests, made by PyAV from pictures, and what PyAV itself decodes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.places import photos_in

EDGES = 96, 64  # pixels, width and height
RATE = 10  # frames a second, where no times are given


def video_of(
    photos: Path,
    to: Path,
    times: Sequence[float],
    *,
    rotation: int = 0,
    gop: int = 10,
    codec: str = "",
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frames are photos, each moved on a little for as long as it is shown.

    Args:
        photos: a folder of them.
        to: its name says the format; WebM is VP8, all others H.264 with B-frames.
        times: seconds of each frame.
        rotation: degrees that a player turns it, against the clock.
        gop: frames from one keyframe to the next.
        codec: another one.
        options: of the container.
    """
    av = pytest.importorskip("av")
    pictures = [np.asarray(Image.open(path).convert("RGB").resize(EDGES)) for path in photos_in(photos)]
    unit = Fraction(1, 1000)
    with av.open(str(to), "w", options=options or {}) as out:
        stream = out.add_stream(codec or ("libvpx" if to.suffix == ".webm" else "libx264"), rate=RATE)
        stream.width, stream.height = EDGES
        stream.pix_fmt, stream.time_base, stream.codec_context.gop_size = "yuv420p", unit, gop
        if to.suffix != ".avi":  # which has frames of one length
            stream.codec_context.time_base = unit
        if to.suffix == ".webm":
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(times):
            pixels = np.roll(pictures[number // 5 % len(pictures)], number, axis=1)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return to


def every(count: int) -> list[float]:
    """Return the times of so many frames at `RATE`."""
    return [number / RATE for number in range(count)]


def frames_of(path: Path) -> dict[int, np.ndarray]:
    """Return milliseconds -> pixels of every frame, as PyAV decodes them from front to back, upright."""
    return dict(_frames_of(path))


def _frames_of(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as opened:
        for frame in opened.decode(video=0):
            yield round(frame.time * 1000), np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
