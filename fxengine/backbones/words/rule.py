"""How the words of a text are found, before each is looked up in a vocabulary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from fxengine.errors import InputError


@dataclass(frozen=True)
class Rule:
    """Finds words.

    Attributes:
        pattern: regular expression of what is a word, in Python's syntax.
        lower: whether the text is turned to lower case first; a word that is not known as it is, is looked up in lower
            case whatever this says.
        straight: whether the typographic apostrophe is taken for the plain one.
    """

    pattern: str
    lower: bool = False
    straight: bool = False

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def words(self, text: str) -> list[str]:
        """Return the words and marks of a text, in their order."""
        if self.straight:
            text = text.replace("\u2019", "'")
        return self._compiled.findall(text.lower() if self.lower else text)


# "words": runs of letters, digits and underscores, every other mark by itself, and the contractions of English cut off
# as in the Penn Treebank ("do n't", "it 's"), whose tokenizer the vectors of GloVe were trained behind.
# "keras": what Keras' `Tokenizer` and `text_to_word_sequence` take for words by default.
RULES = {
    "words": Rule(
        r"\w+(?!\w|')|\w+?(?=n't\b)|n't\b|\w+|'(?:s|m|d|re|ve|ll)\b|[^\w\s]",
        straight=True,
    ),
    "keras": Rule(r"[^ !\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~\t\n]+", lower=True),
}


def find_rule(name: str) -> Rule:
    """Return a rule by its name; raises InputError where there is none of it."""
    if name not in RULES:
        raise InputError(f"There is no rule {name!r} for `tokens`. There is: {', '.join(RULES)}.")
    return RULES[name]
