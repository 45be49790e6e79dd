from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fxengine.retrieval.copies.fit import WAYS, fits, turned
from fxengine.retrieval.copies.look import look_at
from tests.retrieval.copies.made import scene


@pytest.mark.parametrize("way", range(WAYS))
def test_a_crop_is_found_where_it_was_taken_however_it_was_turned(way: int) -> None:
    whole = np.asarray(scene(1, (256, 192)))
    box = (40, 30, 221, 166)
    part = whole[box[1] : box[3], box[0] : box[2]]
    # `turned` of what is compared gives the part: so it was turned the other way.
    other = next(np.ascontiguousarray(p) for p in _ways(part) if np.array_equal(_turn(p, way), part))
    a, b = look_at(whole, (256, 192)), look_at(other, (other.shape[1], other.shape[0]))
    found = [fit for fit in fits(a, b) if fit.way == way]
    scale = 181 / 256  # the part, enlarged to 256 pixels, lies in the whole at this scale
    best = min(
        abs(fit.shift[0] - box[0]) + abs(fit.shift[1] - box[1]) + 99 * abs(fit.scale[0] - scale) for fit in found
    )
    assert best < 4


def _turn(image: np.ndarray, way: int) -> np.ndarray:
    return np.stack([turned(image[:, :, channel], way) for channel in range(3)], axis=2)


def _ways(image: np.ndarray) -> list[np.ndarray]:
    return [_turn(image, way) for way in range(WAYS)]


def test_other_pictures_do_not_lie_in_each_other() -> None:
    looks = [look_at(np.asarray(scene(seed)), (320, 240)) for seed in range(6)]
    assert not [fit for i in range(6) for j in range(i) for fit in fits(looks[i], looks[j])]
    flat = look_at(np.asarray(Image.new("RGB", (64, 48))), (64, 48))
    assert not list(fits(looks[0], flat))
