"""Which frames of a video are inputs, and what they are called: their times."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction

import numpy as np

from fxengine.errors import InputError, given

TIME = "#t="  # begins the W3C media fragment of a frame, behind the place of its video
KEYFRAMES, EVERY = "keyframes", "every"
_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)/s")
_APART = 1000  # milliseconds between two keyframes that are taken, at least


def check_rule(frames: str | None) -> str | None:
    """Return which frames are asked for, None where nothing is said.

    Raises:
        InputError: it is neither "keyframes" nor "every" nor a rate such as "1/s".
    """
    if frames is None or (isinstance(frames, str) and is_rule(frames)):
        return frames
    raise InputError(f'`frames` must be "keyframes", "every", or a rate such as "1/s" or "0.5/s". Got {given(frames)}.')


def is_rule(frames: str) -> bool:
    """Tell whether it says which frames are taken."""
    return frames in (KEYFRAMES, EVERY) or _rate_of(frames) > 0


def chosen(rule: str, times: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return which frames a rule takes, as positions in `times`.

    Of a rate it is the first frame at or after each tick; keyframes are at least a second apart.

    Args:
        rule: as `check_rule` takes it.
        times: milliseconds of each frame, ascending, int64 [n].
        keys: whether it is a keyframe, bool [n].
    """
    if rule == EVERY:
        return np.arange(len(times))
    if rule == KEYFRAMES:
        taken: list[int] = []
        for at in np.flatnonzero(keys).tolist():
            if not taken or times[at] >= times[taken[-1]] + _APART:
                taken.append(at)
        return np.array(taken, np.int64)
    rate = _rate_of(rule)
    ticks = np.array([int(time) * rate.numerator // (1000 * rate.denominator) for time in times], np.int64)
    return np.flatnonzero(np.diff(ticks, prepend=-1) > 0)


def fragment(time: int) -> str:
    """Return what stands behind the place of a video for the frame at so many milliseconds."""
    return f"{TIME}{time // 1000}.{time % 1000:03d}"


def time_in(text: str) -> int | None:
    """Return the milliseconds that a fragment's seconds say, None where they are no such number."""
    if not re.fullmatch(r"\d{1,12}(?:\.\d{1,12})?", text, re.ASCII):
        return None
    return round(Fraction(text) * 1000)


def frame_hash(video: str, of_frame: str) -> str:
    """Return the `content_hash` of a frame: that of its video and the fragment, so that a renamed video is a rename.

    Args:
        video: SHA-256 of the video, in hex.
        of_frame: as `fragment` gives it.
    """
    return hashlib.sha256(f"{video}{of_frame}".encode()).hexdigest()


def _rate_of(rule: str) -> Fraction:
    """Return the frames a second that a rule says, 0 where it says none."""
    found = _RATE.fullmatch(rule)
    return Fraction(found[1]) if found else Fraction(0)
