"""A vocabulary as a tokenizer: the known words of a text are its tokens, the others are left out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.decode.text.tokenizer import Tokenized


@dataclass(frozen=True)
class Words:
    """A vocabulary that keeps the first `max_tokens` known words of a text.

    Attributes:
        max_tokens: words that are kept.
        vocabulary: the words that are known, and how those of a text are found.
    """

    max_tokens: int
    vocabulary: Vocabulary

    @property
    def version(self) -> str:
        """What finds the words: the regular expressions of Python, whose Unicode tables come with it."""
        return f"words, python {sys.version_info.major}.{sys.version_info.minor}"

    def all_ids(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return the known words of each text."""
        return [Tokenized(ids[: self.max_tokens], count, len(ids)) for ids, count in self.vocabulary.all_ids(texts)]


def open_vocabulary(tokenizer: bytes, max_tokens: int) -> Words:
    """Return a vocabulary as a tokenizer; raises InputError where it cannot be read."""
    return Words(max_tokens, Vocabulary.from_bytes(tokenizer))
