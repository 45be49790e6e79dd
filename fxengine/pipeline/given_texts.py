"""Texts that somebody gives by themselves: literals, and files of a text each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fxengine.collect.item import Item, Payload
from fxengine.collect.local import stat_item
from fxengine.collect.text_files import read_text_input
from fxengine.errors import DecodeError, one_line

SUFFIX = ".txt"
_NAME = 60  # characters of a text's name


@dataclass
class GivenTexts:
    """Texts as a listing, in the order given; the id of each is its name.

    Attributes:
        texts: the texts.
        root: the folder that ids would be relative to.
        labelled: whether it knows labels.
        unreadable: always empty.
    """

    texts: tuple[str, ...]
    root: Path = Path()
    labelled: bool = False
    unreadable: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Item]:
        for number, text in enumerate(self.texts):
            yield Item(text_name(text), str(number), len(text), 0)

    def count(self) -> int:
        """Return how many there are."""
        return len(self.texts)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return a text in UTF-8; raises DecodeError where it is longer than `max_bytes`, or holds half a character."""
        try:
            text = self.texts[int(item.source)].encode()
        except UnicodeEncodeError as error:
            raise DecodeError("not_text", "It holds half a character, or bytes that are not UTF-8.") from error
        if len(text) > max_bytes:
            raise DecodeError("too_large", f"{len(text)} bytes; `max_bytes` allows {max_bytes}.")
        return text, item


def text_name(text: str) -> str:
    """Return how a text that has no id is named: itself in a line, shortened to 60 characters."""
    line = one_line(text, _NAME)
    return line.encode(errors="backslashreplace").decode()


def read_text(path: str | os.PathLike[str], max_bytes: int) -> str:
    """Return the text of a file, as `extract` reads it.

    Raises:
        DecodeError: it cannot be read, is longer than `max_bytes`, blank, or no text; the message says which file.
    """
    name = os.fspath(path)
    try:
        text, _ = read_text_input(stat_item(name, path), max_bytes)
    except DecodeError as error:
        raise DecodeError(error.code, f"{name}: {error}") from error
    return text.decode()
