"""What differs between two files that were found to be the same picture, as an image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fxengine.collect.stored import is_named
from fxengine.decode.picture.small import read_small
from fxengine.errors import DecodeError
from fxengine.retrieval.copies.look import EDGE, look_at
from fxengine.retrieval.copies.proof import overlaid
from fxengine.retrieval.copies.verdict import compare

_CONTRAST = 4  # so many times: what differs is faint


def difference_image(kept: str, other: str) -> Image.Image | None:
    """Return the grey levels in which a copy differs from the picture that is kept, laid over it, grey being equal.

    The copy's brightness and contrast are brought to those of the kept picture before, and what is left is drawn four
    times as strong; where only a part is in both, that part. None where a file may not or cannot be read, or the two
    do not fit any more.
    """
    if not (is_named(kept) and is_named(other)):
        return None
    try:
        a, b = (look_at(pixels, size) for pixels, size, _ in (read_small(path, EDGE) for path in (kept, other)))
    except DecodeError:
        return None
    proof = compare(a, b)
    both = None if proof is None else overlaid(a, b, proof.fit)
    if both is None:
        return None
    first, second = both
    gain = float(first.std()) / max(float(second.std()), 1e-3)
    left = (second - second.mean()) * gain - (first - first.mean())
    return Image.fromarray(np.clip(128 + _CONTRAST * left, 0, 255).astype(np.uint8))
