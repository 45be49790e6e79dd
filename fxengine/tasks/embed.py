"""Embeds a few pictures without a store: queries, and programs that keep their own data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxengine import decode
from fxengine.backbones import DEFAULT, find_space, load_backbone
from fxengine.backbones.spec import BackboneFile, Preprocess, layer_output
from fxengine.collect.read import read_input
from fxengine.decode import Limits
from fxengine.decode.resize import resize_into
from fxengine.errors import DecodeError, InputError
from fxengine.execute import open_session
from fxengine.execute.session import Session
from fxengine.extraction_precision import open_stored
from fxengine.features.schema import Item, Provenance

Picture = "str | Path | bytes | np.ndarray | Image"


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone that embeds pictures.

    Attributes:
        file: the file on disk with its facts and fingerprint.
    """

    file: BackboneFile
    _session: Session

    @classmethod
    def load(cls, name: str | Path = DEFAULT, *, device: str = "auto", batch_size: int | None = None) -> Backbone:
        """Load a backbone by name or file.

        Raises:
            InputError: there is no such name or file.
            DeviceError: the device was asked for by name and does not start.
        """
        found = load_backbone(name)
        return cls(found, open_session(found.path, device, batch_size))

    @classmethod
    def for_store(cls, stored: Provenance, override: str | Path | None = None, device: str = "auto") -> Backbone:
        """Load the backbone of a store: `override`, else from the cache, else a fresh export.

        It computes in the store's precision where this machine has it, else in fp32.

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
        return cls(found, open_stored(found, stored, device))

    @property
    def dim(self) -> int:
        """Numbers in a feature vector."""
        return self.file.facts.dim

    def embed(self, pictures: Sequence[Any], *, batch_size: int | None = None, layer: str | None = None) -> np.ndarray:
        """Return raw feature vectors, float32 [n, dim], in the order given.

        Args:
            pictures: paths, encoded bytes, PIL images, or uint8 arrays [height, width, 3] in RGB.
            batch_size: pictures in one run of the model; what it was loaded with unless given.
            layer: a further layer's name; the default one unless given.

        Raises:
            DecodeError: a picture cannot be decoded; the message says which.
            InputError: something given is none of these kinds.
        """
        if isinstance(pictures, str | bytes | Path) or not isinstance(pictures, Iterable):
            raise InputError("embed() takes a list of pictures. Put a single one into a list: embed([picture]).")
        step = batch_size or self._session.batch_size
        recipe = self.file.recipe
        output = layer_output(layer)
        if output not in self._session.outputs:
            there = ", ".join(name for name, _ in self.file.facts.layers) or "none but the default"
            raise InputError(f"{self.file.facts.name} has no layer {layer!r}. There is: {there}.")
        parts = [np.empty((0, self.dim if layer is None else dict(self.file.facts.layers)[layer]), np.float32)]
        for start in range(0, len(pictures), step):
            chunk = pictures[start : start + step]
            batch = np.empty((len(chunk), recipe.height, recipe.width, 3), np.uint8)
            for i, picture in enumerate(chunk):
                try:
                    prepare(picture, recipe, batch[i])
                except DecodeError as error:
                    name = str(picture) if isinstance(picture, str | Path) else f"picture {start + i}"
                    raise DecodeError(error.code, f"{name}: {error}") from error
            parts.append(self._session.run(batch, (output,))[output])
        return np.concatenate(parts)


def prepare(picture: Any, recipe: Preprocess, out: np.ndarray) -> None:
    """Decode and resize one picture (path, encoded bytes, PIL image or RGB array) into uint8 `out`.

    Raises:
        DecodeError: it cannot be decoded.
        InputError: it is none of these.
    """
    limits = Limits()
    if isinstance(picture, str | Path):
        picture, _ = read_input(Item(str(picture), os.fspath(picture), -1, 0), limits.max_bytes)
    if isinstance(picture, bytes | bytearray | memoryview):
        data = bytes(picture)
        decode.decode_into(data, decode.read_header(data, limits), recipe, out)
    elif isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(f"An array must be uint8 [height, width, 3]. Got {picture.dtype} {list(picture.shape)}.")
        resize_into(picture, 1, recipe, out)
    elif hasattr(picture, "getexif"):
        pixels = decode.load_decoder("pillow").from_image(picture)
        resize_into(pixels.pixels, pixels.orientation, recipe, out)
    else:
        raise InputError(f"embed() takes paths, bytes, PIL images and uint8 arrays. Got {type(picture).__name__}.")
