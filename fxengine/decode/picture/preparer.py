"""Pictures as rows of a graph's input `images`: decoded, upright and at the recipe's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fxengine.backbones.spec import INPUT_NAME, PictureRecipe, Recipe
from fxengine.collect.item import Crop, Payload
from fxengine.decode.limits import Limits
from fxengine.decode.picture import choose_decoder, decode_into, memory_needed, read_header, versions
from fxengine.decode.picture.apart import decode_apart
from fxengine.decode.picture.crop import crop_of
from fxengine.decode.picture.formats import Header, Picture, check_size, upright_size
from fxengine.decode.picture.given import payload_of
from fxengine.decode.picture.resize import resize_into
from fxengine.decode.rows import Filled, Inputs, Opened, Window
from fxengine.errors import DecodeError


def make(recipe: Recipe, limits: Limits, on_gpu: bool, _: bytes) -> PicturePreparer:
    """Return the preparer of a recipe."""
    assert isinstance(recipe, PictureRecipe)
    return PicturePreparer(recipe, limits, on_gpu)


@dataclass(frozen=True)
class PicturePreparer:
    """Prepares pictures.

    Attributes:
        recipe: how a picture becomes a row.
        limits: what is refused as too large.
        on_gpu: whether a GPU decodes what it can.
    """

    recipe: PictureRecipe
    limits: Limits
    on_gpu: bool

    @property
    def decoder(self) -> str:
        """What decodes, with its version."""
        libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
        return f"nvImageCodec on the GPU, {libraries}" if self.on_gpu else libraries

    def room(self, rows: int) -> Inputs:
        """Return `images`, uint8 [rows, height, width, 3]."""
        return {INPUT_NAME: np.zeros((rows, self.recipe.height, self.recipe.width, 3), np.uint8)}

    def example(self, batch_size: int) -> Inputs:
        """Return a batch of black pictures: a net takes as long for any."""
        return self.room(batch_size)

    def window(self, batch_size: int) -> Window:
        """Return one batch: the net takes its pictures at once."""
        return Window(batch_size)

    def open(self, payload: Payload | Picture) -> Opened:
        """Look at an encoded file, a box, RGB pixels uint8 [height, width, 3], or a picture that was decoded already.

        Raises:
            DecodeError: it is no picture that is decoded, damaged, or over a limit.
        """
        if isinstance(payload, bytes):
            header = read_header(payload, self.limits)
            decoder = choose_decoder(header, self.on_gpu)
            return Opened(memory_needed(header, self.recipe, decoder), partial(self._decode, payload, header, decoder))
        if isinstance(payload, Crop):
            header = read_header(payload.data, self.limits)
            return Opened(header.memory_at(1), partial(self._crop, payload))
        if isinstance(payload, np.ndarray):
            check_size(payload.shape[1], payload.shape[0], self.limits)
        picture = payload if isinstance(payload, Picture) else Picture(payload, 1)
        return Opened(0, partial(self._resize, picture))

    def open_apart(self, payload: Payload) -> Opened:
        """Do so for an input that is suspected to crash the decoder; pixels crash none."""
        return Opened(0, partial(self._decode_apart, payload)) if isinstance(payload, bytes) else self.open(payload)

    def fill_together(
        self, payloads: Sequence[Payload], inputs: Inputs, rows: Sequence[int]
    ) -> list[Filled | DecodeError]:
        """Do so for several, one after the other; an error stands for what is refused."""
        found: list[Filled | DecodeError] = []
        for payload, row in zip(payloads, rows, strict=True):
            try:
                found.append(self.open(payload).fill(inputs, row))
            except DecodeError as error:
                found.append(error)
        return found

    def payload_of(self, given: object) -> bytes | Picture:
        """Return what stands behind a path, encoded bytes, a PIL image or RGB pixels; raises as `given.payload_of`."""
        return payload_of(given, self.limits.max_bytes)

    def _decode(self, data: bytes, header: Header, decoder: str, inputs: Inputs, row: int) -> Filled:
        return Filled(*decode_into(data, header, self.recipe, inputs[INPUT_NAME][row], decoder))

    def _crop(self, crop: Crop, inputs: Inputs, row: int) -> Filled:
        return self._resize(Picture(crop_of(crop, self.limits), 1), inputs, row)

    def _decode_apart(self, data: bytes, inputs: Inputs, row: int) -> Filled:
        return Filled(*decode_apart(data, self.recipe, self.limits, inputs[INPUT_NAME][row]))

    def _resize(self, picture: Picture, inputs: Inputs, row: int) -> Filled:
        resize_into(picture.pixels, picture.orientation, self.recipe, inputs[INPUT_NAME][row])
        height, width = picture.pixels.shape[:2]
        return Filled(*upright_size(width, height, picture.orientation))
