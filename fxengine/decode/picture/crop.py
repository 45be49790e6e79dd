"""A box of a picture, which is decoded once for all its boxes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

import numpy as np

from fxengine.collect.item import Crop
from fxengine.collect.memory import require
from fxengine.decode.limits import Limits
from fxengine.decode.picture import choose_decoder, load_decoder, read_header
from fxengine.decode.picture.geometry import upright
from fxengine.errors import DecodeError

_LEAST = 10  # pixels of an edge
_KEPT = 2  # pictures, whose boxes come one after the other
_lock = threading.Lock()
_pictures: OrderedDict[bytes, Future[np.ndarray]] = OrderedDict()


def crop_of(crop: Crop, limits: Limits) -> np.ndarray:
    """Return what is in a box, uint8 [height, width, 3], upright; what lies outside of the picture is left out.

    Raises:
        DecodeError: the picture cannot be decoded, or the box is outside, empty, or under 10 pixels (`bad_box`).
    """
    pixels = _picture(crop.data, limits)
    height, width = pixels.shape[:2]
    x, y, across, down = crop.sides(width, height)
    left, top, right, bottom = (
        max(0, round(x)),
        max(0, round(y)),
        min(width, round(x + across)),
        min(height, round(y + down)),
    )
    if min(across, down) <= 0:
        raise DecodeError("bad_box", "The box is empty.")
    if right <= left or bottom <= top:
        raise DecodeError("bad_box", f"The box is outside of the picture, which is {width} x {height}.")
    if min(right - left, bottom - top) < _LEAST:
        raise DecodeError(
            "bad_box", f"The box has {right - left} x {bottom - top} pixels: under {_LEAST} tell nothing."
        )
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def pixels_of(payload: Crop | np.ndarray, limits: Limits) -> np.ndarray:
    """Return what is no encoded file as pixels, uint8 [height, width, 3], upright; raises DecodeError as `crop_of`."""
    return crop_of(payload, limits) if isinstance(payload, Crop) else payload


def _picture(data: bytes, limits: Limits) -> np.ndarray:
    """Return a picture, upright, uint8 [height, width, 3]; threads that ask for the same one wait for it."""
    with _lock:
        found = _pictures.get(data)
        if is_mine := found is None:
            found = _pictures[data] = Future()
        _pictures.move_to_end(data)
        while len(_pictures) > _KEPT:
            _pictures.popitem(last=False)
    if is_mine:
        try:
            found.set_result(_decoded(data, limits))
        except BaseException as error:  # whoever waits for it gets it, too
            found.set_exception(error)
    return found.result()


def _decoded(data: bytes, limits: Limits) -> np.ndarray:
    header = read_header(data, limits)
    require(header.memory_at(1), "Decoding it")
    picture = load_decoder(choose_decoder(header, on_gpu=False)).decode(data, header, 1)
    return upright(picture.pixels, picture.orientation)
