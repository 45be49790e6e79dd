"""Texts as rows of a graph's inputs `tokens` and `lengths`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fxengine.backbones.spec import LENGTHS_INPUT, TOKENS_INPUT, Recipe, TextRecipe
from fxengine.collect.item import Payload
from fxengine.collect.stored import read_file_at
from fxengine.collect.text_files import utf8_of
from fxengine.decode.limits import Limits
from fxengine.decode.rows import Filled, Inputs, Opened, Window
from fxengine.decode.text.tokenizer import Tokenized, Tokenizer, open_tokenizer
from fxengine.decode.text.words import open_vocabulary
from fxengine.errors import DecodeError, InputError

_COST = 160  # bytes of memory that the tokenizer takes for a byte of text, at most
_USUAL = 64  # tokens of a text that a net is timed on
# Tokens that are ready at once. Many, since texts of one length are computed together; few, since what is computed is
# told and kept a window at a time. A run of many tokens is of a net that is done with as many in as short a time.
_TOKENS, _MOST_TOKENS, _RUNS = 1 << 16, 1 << 18, 64
_TOKENS_A_ROW = 16  # of the shortest texts in use
# Texts that are read, and then taken apart, by one thread: of a quick net many, since Python's lock is waited for after
# each step outside it.
_TOGETHER, _MOST_TOGETHER = 128, 1024
_BYTES_A_TOKEN = 4  # of English text


def make(recipe: Recipe, limits: Limits, on_gpu: bool, tokenizer: bytes) -> TextPreparer:
    """Return the preparer of a recipe; raises InputError where its tokenizer cannot be used."""
    assert isinstance(recipe, TextRecipe)
    opened = open_vocabulary if recipe.kind == "words" else open_tokenizer
    return TextPreparer(recipe, limits, opened(tokenizer, recipe.max_tokens))


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
        return self.tokenizer.version

    def room(self, rows: int) -> Inputs:
        """Return `tokens`, [rows] of int32 arrays of each text's own length, and `lengths`, int32 [rows]."""
        return {TOKENS_INPUT: np.empty(rows, object), LENGTHS_INPUT: np.zeros(rows, np.int32)}

    def example(self, batch_size: int) -> Inputs:
        """Return texts of a usual length, which have as many tokens as a run takes."""
        length = min(_USUAL, self.recipe.max_tokens)
        rows = max(1, batch_size // length)
        return {TOKENS_INPUT: np.zeros((rows, length), np.int32), LENGTHS_INPUT: np.full(rows, length, np.int32)}

    def window(self, batch_size: int) -> Window:
        """Return how much is made ready at once, where a run of the net takes `batch_size` tokens."""
        tokens = max(4 * batch_size, min(_MOST_TOKENS, max(_TOKENS, _RUNS * batch_size)))
        together = min(_MOST_TOGETHER, max(_TOGETHER, batch_size // 4))
        return Window(tokens // _TOKENS_A_ROW, tokens * _BYTES_A_TOKEN, together, _COST)

    def open(self, payload: Payload) -> Opened:
        """Look at the UTF-8 bytes of a text.

        Raises:
            DecodeError: it is over a limit, no text, or blank.
        """
        text = self._text_of(payload)
        if isinstance(text, DecodeError):
            raise text
        return Opened(_COST * len(payload), partial(self._fill, text))

    def open_apart(self, payload: Payload) -> Opened:
        """Do the same: no text is known to crash a tokenizer."""
        return self.open(payload)

    def fill_together(
        self, payloads: Sequence[Payload], inputs: Inputs, rows: Sequence[int]
    ) -> list[Filled | DecodeError]:
        """Tokenize several at once; an error stands for a text that is refused."""
        texts = [self._text_of(payload) for payload in payloads]
        prompt = self.recipe.prompt
        tokenized = iter(self.tokenizer.all_ids([prompt + text for text in texts if isinstance(text, str)]))
        return [
            text if isinstance(text, DecodeError) else self._put(text, next(tokenized), inputs, row)
            for text, row in zip(texts, rows, strict=True)
        ]

    def payload_of(self, given: object) -> bytes:
        """Return the UTF-8 bytes of a text, of such bytes, or of the path (a `pathlib.Path`) of a file that holds one.

        Raises:
            DecodeError: half a character is no text; else as `read_file_at` and `utf8_of` do.
            InputError: it is none of these.
        """
        if isinstance(given, os.PathLike):
            return utf8_of(read_file_at(os.fspath(given), self.limits.max_bytes)[0])
        if isinstance(given, bytes):
            return given
        if not isinstance(given, str):
            raise InputError(f"A backbone of texts takes texts, their bytes, and paths. Got {type(given).__name__}.")
        try:
            return given.encode()
        except UnicodeEncodeError as error:
            raise DecodeError("not_text", f"It holds {given[error.start]!a}, which is half a character.") from error

    def _text_of(self, payload: Payload) -> str | DecodeError:
        assert isinstance(payload, bytes)
        if len(payload) > self.limits.max_bytes:
            return DecodeError("too_large", f"{len(payload)} bytes; `max_bytes` allows {self.limits.max_bytes}.")
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            return DecodeError("not_text", f"It is not UTF-8: byte {error.start} is {payload[error.start]:#04x}.")
        return DecodeError("empty", "The text is empty.") if not text or text.isspace() else text

    def _fill(self, text: str, inputs: Inputs, row: int) -> Filled:
        (found,) = self.tokenizer.all_ids([self.recipe.prompt + text])
        filled = self._put(text, found, inputs, row)
        if isinstance(filled, DecodeError):
            raise filled
        return filled

    def _put(self, text: str, found: Tokenized, inputs: Inputs, row: int) -> Filled | DecodeError:
        count = len(found.ids)
        if not count and found.tokens:
            return DecodeError("no_known_word", f"None of its {found.tokens} words is in the vocabulary.")
        if not count:
            return DecodeError("empty", "The text has no token.")
        inputs[TOKENS_INPUT][row] = found.ids
        inputs[LENGTHS_INPUT][row] = count
        told: dict[str, object] = {"tokens": found.tokens, "truncated": found.known > count, "text": text}
        if self.recipe.kind == "words":
            told["coverage"] = found.known / found.tokens
        return Filled(further=told)
