"""A vocabulary with its rule: texts become the numbers of their known words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from fxengine.backbones.words.rule import RULES, Rule
from fxengine.errors import InputError

_REMEMBERED = 1 << 16  # different words that are not known as they are


class _Numbers(dict[str, int]):
    """Word -> its number; of a word that is only known in lower case that one's, of an unknown one -1."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__(zip(words, range(1 << 62), strict=False))
        self._others: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        number = self._others.get(word)
        if number is None:
            number = self.get(word.lower(), -1)
            if len(self._others) < _REMEMBERED:
                self._others[word] = number
        return number


@dataclass(frozen=True)
class Vocabulary:
    """Words that have a number each, from 0 on.

    Attributes:
        rule: how the words of a text are found.
        words: all different, in the order of their numbers; none holds a line's end.
    """

    rule: Rule
    words: Sequence[str]
    _numbers: _Numbers = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = _Numbers(self.words)
        if len(numbers) != len(self.words):
            raise InputError("A vocabulary has a word twice.")
        object.__setattr__(self, "_numbers", numbers)

    def ids(self, text: str) -> tuple[list[int], int]:
        """Return the numbers of the known words of a text, in its order, and how many words it has, known or not."""
        numbers = [*map(self._numbers.__getitem__, self.rule.words(text))]
        known = [number for number in numbers if number >= 0] if -1 in numbers else numbers
        return known, len(numbers)

    def number(self, word: str) -> int:
        """Return the number of a word, looked up as it is and then in lower case; -1 where it is not known."""
        return self._numbers[word]

    def to_bytes(self) -> bytes:
        """Return a line of JSON with the rule, then a line a word, all in UTF-8."""
        return "\n".join([json.dumps(asdict(self.rule), sort_keys=True), *self.words]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Vocabulary:
        """Rebuild one.

        Raises:
            InputError: it is none, or its rule is none of `RULES`: a pattern of somebody else's may take forever.
        """
        try:
            head, *words = data.decode().split("\n")
            rule = Rule(**json.loads(head))
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"This is no vocabulary: {error}") from error
        if rule not in RULES.values():
            raise InputError("This vocabulary's words are found by a rule that this version does not know.")
        return cls(rule, words)
