from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from fxengine.retrieval.copies.glance import glance_at
from fxengine.retrieval.copies.likely import AGREE, agreement
from tests.retrieval.copies.made import scene


def test_copies_and_upright_crops_agree_at_a_glance_and_other_pictures_do_not() -> None:
    picture = scene(1)
    copies = [
        picture.resize((80, 60)),
        ImageOps.mirror(picture),
        picture.transpose(Image.Transpose.ROTATE_90),
        ImageOps.expand(picture, 25, (200, 30, 30)),
        picture.crop((40, 30, 307, 231)),
        picture.crop((80, 60, 306, 229)),
    ]
    images = [picture, *copies, *(scene(seed) for seed in range(2, 8))]
    squares = np.stack([glance_at(np.asarray(image))[0] for image in images])
    pairs = np.array([(0, other) for other in range(1, len(images))])
    for found in (agreement(squares, pairs), agreement(squares, pairs[:, ::-1])):
        assert found[: len(copies)].min() > AGREE
        assert found[len(copies) :].max() < 0.6


def test_what_is_one_grey_agrees_with_nothing() -> None:
    squares = np.stack([np.full((32, 32), 7, np.uint8), glance_at(np.asarray(scene(1)))[0]])
    assert agreement(squares, np.array([(0, 1), (0, 0)])).max() < 0.5
    assert agreement(squares, np.empty((0, 2), np.int64)).shape == (0,)
