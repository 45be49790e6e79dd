"""Embeds a few pictures without a store: queries, and programs that keep their own data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones import DEFAULT, find_space, load_backbone
from fxengine.backbones.spec import BackboneFile, Preprocess, layer_output
from fxengine.collect.item import Item
from fxengine.collect.local import read_input
from fxengine.decode import picture as pictures_in
from fxengine.decode.picture import Limits
from fxengine.decode.picture.resize import resize_into
from fxengine.errors import DecodeError, InputError
from fxengine.execute import open_session
from fxengine.execute.session import Session
from fxengine.features.schema import Provenance
from fxengine.pipeline.precision import open_stored

Picture = "str | PathLike | bytes | np.ndarray | Image"


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone that embeds pictures. It can be pickled: a copy loads the file again.

    Attributes:
        file: the file on disk with its facts and fingerprint.
        limits: what is refused as too large.
        _open: loads the file as it was loaded here, for a copy.
    """

    file: BackboneFile
    limits: Limits
    _open: Callable[[], Session]
    _session: Session

    @classmethod
    def load(cls, name: str | Path = DEFAULT, *, device: str = "auto", batch_size: int | None = None) -> Backbone:
        """Load a backbone by name or file.

        Raises:
            InputError: there is no such name or file.
            DeviceError: the device was asked for by name and does not start.
        """
        found = load_backbone(name)
        return _opened(found, Limits(), partial(open_session, found.path, device, batch_size))

    @classmethod
    def for_store(cls, stored: Provenance, override: str | Path | None = None, device: str = "auto") -> Backbone:
        """Load the backbone of a store: `override`, else from the cache, else a fresh export.

        It computes in the store's precision where this machine has it, else in fp32, within the store's limits.

        Raises:
            InputError: none of them is of the store's feature space.
        """
        if override is None:
            found = find_space(stored.space, stored.source)
        else:
            found = load_backbone(override)
            if found.fingerprint != stored.space:
                raise InputError(
                    f"--backbone {override} makes features of space {found.fingerprint[:12]}; "
                    f"asked for is {stored.space[:12]} (from {stored.source!r})."
                )
        return _opened(found, Limits(**stored.limits), partial(open_stored, found, stored, device))

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.file, self.limits, self._open)

    @property
    def dim(self) -> int:
        """Numbers in a feature vector."""
        return self.file.facts.dim

    def embed(self, pictures: Iterable[Any], *, batch_size: int | None = None, layer: str | None = None) -> np.ndarray:
        """Return raw feature vectors, float32 [n, dim], in the order given.

        A photo gives the vector that it has in a store whether it comes as a path, as bytes or as a PIL image that was
        opened and not yet touched. Of pixels (a PIL image once loaded, an array) a JPEG much larger than the input of
        the net gives nearly the same, since its file would be decoded at a fraction of its size: the cosine of 25 real
        photos was at least 0.9988, 0.9993 in the mean (EfficientNet-Lite0).

        Args:
            pictures: paths, encoded bytes, PIL images, or uint8 arrays [height, width, 3] in RGB; any iterable.
            batch_size: pictures in one run of the model; what it was loaded with unless given.
            layer: a further layer's name; the default one unless given.

        Raises:
            DecodeError: a picture cannot be decoded; the message says which.
            InputError: something given is none of these kinds.
        """
        if isinstance(pictures, str | bytes | bytearray | memoryview) or not isinstance(pictures, Iterable):
            raise InputError("embed() takes a list of pictures. Put a single one into a list: embed([picture]).")
        step = batch_size or self._session.batch_size
        if not isinstance(step, int) or step < 1:
            raise InputError(f"batch_size must be a positive whole number. Got {step!r}.")
        recipe = self.file.recipe
        output = layer_output(layer)
        if output not in self._session.outputs:
            there = ", ".join(name for name, _ in self.file.facts.layers) or "none but the default"
            raise InputError(f"{self.file.facts.name} has no layer {layer!r}. There is: {there}.")
        parts = [np.empty((0, self.dim if layer is None else dict(self.file.facts.layers)[layer]), np.float32)]
        remaining, done = iter(pictures), 0
        while chunk := list(islice(remaining, step)):
            batch = np.empty((len(chunk), recipe.height, recipe.width, 3), np.uint8)
            for i, picture in enumerate(chunk):
                try:
                    prepare(picture, recipe, batch[i], self.limits)
                except DecodeError as error:
                    name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else f"picture {done + i}"
                    raise DecodeError(error.code, f"{name}: {error}") from error
            parts.append(self._session.run(batch, (output,))[output])
            done += len(chunk)
        return np.concatenate(parts)


def _opened(found: BackboneFile, limits: Limits, open_it: Callable[[], Session]) -> Backbone:
    return Backbone(found, limits, open_it, open_it())


def prepare(picture: Any, recipe: Preprocess, out: np.ndarray, limits: Limits) -> None:
    """Decode and resize one picture (path, encoded bytes, PIL image or RGB array) into uint8 `out`.

    Raises:
        DecodeError: it cannot be decoded, or is over the limits.
        InputError: it is none of these.
    """
    if isinstance(picture, str | os.PathLike):
        picture, _ = read_input(Item(str(picture), os.fspath(picture), -1, 0), limits.max_bytes)
    elif hasattr(picture, "getexif"):
        picture = _file_of(picture) or picture
    if isinstance(picture, bytes | bytearray | memoryview):
        data = bytes(picture)
        pictures_in.decode_into(data, pictures_in.read_header(data, limits), recipe, out)
    elif isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise InputError(f"An array must be uint8 [height, width, 3]. Got {picture.dtype} {list(picture.shape)}.")
        resize_into(picture, 1, recipe, out)
    elif hasattr(picture, "getexif"):
        pixels = pictures_in.load_decoder("pillow").from_image(picture)
        resize_into(pixels.pixels, pixels.orientation, recipe, out)
    else:
        raise InputError(f"embed() takes paths, bytes, PIL images and uint8 arrays. Got {type(picture).__name__}.")


def _file_of(image: Any) -> bytes | None:
    """Return the file behind a PIL image whose pixels nobody has read or changed yet, if it is one that is decoded."""
    file = getattr(image, "fp", None)
    if not getattr(image, "tile", None) or file is None or image.tell() != 0:
        return None
    try:
        place = file.tell()
        file.seek(0)
        data: bytes = file.read()
        file.seek(place)
        pictures_in.formats.sniff(data)
    except (OSError, ValueError, DecodeError):
        return None
    return data
