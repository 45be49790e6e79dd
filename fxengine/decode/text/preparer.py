"""Texts as rows of a graph's inputs `tokens` and `lengths`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import numpy as np

from fxengine.backbones.spec import LENGTHS_INPUT, TOKENS_INPUT, Recipe, TextRecipe
from fxengine.collect.item import Payload
from fxengine.collect.local import read_file
from fxengine.collect.text_files import utf8_of
from fxengine.decode.limits import Limits
from fxengine.decode.rows import Filled, Inputs, Opened, Window
from fxengine.decode.text.tokenizer import Tokenizer, open_tokenizer, tokenizers_version
from fxengine.errors import DecodeError, InputError

_COST = 160  # bytes of memory that the tokenizer takes for a byte of text, at most
_USUAL = 64  # tokens of a text that a net is timed on
# Rows and tokens that are ready at once: the longer the net's texts, the fewer rows. Many, since texts of one length
# are computed together; few, since what is computed is told and kept a window at a time.
_ROWS, _NUMBERS, _TOKENS = 4096, 1 << 20, 1 << 16
_BYTES_A_TOKEN = 4  # of English text


def make(recipe: Recipe, limits: Limits, on_gpu: bool, tokenizer: bytes) -> TextPreparer:
    """Return the preparer of a recipe; raises InputError where its tokenizer cannot be used."""
    assert isinstance(recipe, TextRecipe)
    return TextPreparer(recipe, limits, open_tokenizer(tokenizer, recipe.max_tokens))


@dataclass(frozen=True)
class TextPreparer:
    """Prepares texts.

    Attributes:
        recipe: how a text becomes a row.
        limits: what is refused as too large.
        tokenizer: the backbone's own.
    """

    recipe: TextRecipe
    limits: Limits
    tokenizer: Tokenizer

    @property
    def decoder(self) -> str:
        """What makes the tokens, with its version."""
        return tokenizers_version()

    def room(self, rows: int) -> Inputs:
        """Return `tokens`, int32 [rows, max_tokens], and `lengths`, int32 [rows]."""
        return {
            TOKENS_INPUT: np.zeros((rows, self.recipe.max_tokens), np.int32),
            LENGTHS_INPUT: np.zeros(rows, np.int32),
        }

    def example(self, batch_size: int) -> Inputs:
        """Return texts of a usual length, which have as many tokens as a run takes."""
        length = min(_USUAL, self.recipe.max_tokens)
        inputs = self.room(max(1, batch_size // length))
        inputs[LENGTHS_INPUT][:] = length
        return inputs

    def window(self, batch_size: int) -> Window:
        """Return how much is made ready at once, where a run of the net takes `batch_size` tokens."""
        rows = max(1, min(_ROWS, _NUMBERS // self.recipe.max_tokens))
        return Window(rows, max(_TOKENS, 4 * batch_size) * _BYTES_A_TOKEN)

    def open(self, payload: Payload) -> Opened:
        """Look at the UTF-8 bytes of a text.

        Raises:
            DecodeError: it is over a limit, no text, or blank.
        """
        assert isinstance(payload, bytes)
        if len(payload) > self.limits.max_bytes:
            raise DecodeError("too_large", f"{len(payload)} bytes; `max_bytes` allows {self.limits.max_bytes}.")
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(
                "not_text", f"It is not UTF-8: byte {error.start} is {payload[error.start]:#04x}."
            ) from error
        if not text or text.isspace():
            raise DecodeError("empty", "The text is empty.")
        return Opened(_COST * len(payload), partial(self._fill, text))

    def open_apart(self, payload: Payload) -> Opened:
        """Do the same: no text is known to crash a tokenizer."""
        return self.open(payload)

    def open_given(self, given: object) -> Opened:
        """Look at a text, its UTF-8 bytes, or the path (a `pathlib.Path`) of a file that holds one.

        Raises:
            DecodeError: as `open` and `read_file` do.
            InputError: it is none of these.
        """
        if isinstance(given, os.PathLike):
            return self.open(utf8_of(read_file(given, self.limits.max_bytes)[0]))
        if isinstance(given, bytes):
            return self.open(given)
        if not isinstance(given, str):
            raise InputError(f"A backbone of texts takes texts, their bytes, and paths. Got {type(given).__name__}.")
        try:
            return self.open(given.encode())
        except UnicodeEncodeError as error:
            raise DecodeError("not_text", f"It holds {given[error.start]!a}, which is half a character.") from error

    def _fill(self, text: str, inputs: Inputs, row: int) -> Filled:
        ids, count = self.tokenizer.ids(text)
        if not len(ids):
            raise DecodeError("empty", "The text has no token.")
        inputs[TOKENS_INPUT][row, : len(ids)] = ids
        inputs[LENGTHS_INPUT][row] = len(ids)
        return Filled(further={"tokens": count, "truncated": count > len(ids), "text": text})
