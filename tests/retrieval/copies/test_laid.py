from __future__ import annotations

import numpy as np

from fxengine.retrieval.copies.glance import glance_at
from fxengine.retrieval.copies.laid import correlation_of
from tests.retrieval.copies.made import scene


def test_a_crop_that_is_said_to_lie_a_pixel_off_and_too_large_is_found_where_it_lies_and_another_is_not() -> None:
    picture, other = scene(1, (320, 320)), scene(2, (320, 320))
    crops = [image.crop((40, 60, 280, 300)) for image in (picture, other)]
    whole, *parts = (glance_at(np.asarray(image))[0] for image in (picture, *crops))
    exact = np.array([18.0, 12.0, 16.0, 12.0], np.float32)  # of 32: rows 60 to 300 and columns 40 to 280 of 320
    off = exact + np.array([1, 1, -1, 1], np.float32)
    found = correlation_of(np.stack([whole] * 3), np.stack([parts[0], parts[0], parts[1]]), np.stack([exact, off, off]))
    assert found[0] > 0.97
    assert abs(found[1] - found[0]) < 0.01
    assert found[2] < 0.6
    assert correlation_of(*(np.empty((0, 32, 32)),) * 2, np.empty((0, 4), np.float32)).shape == (0,)
