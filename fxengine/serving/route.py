"""What the page asks and what it is answered, without a word of HTTP: a group of routes is plain functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fxengine.serving.opened import Opened, Refused

_JSON = 1 << 20  # bytes of a question


@dataclass(frozen=True)
class Asked:
    """What a request brings.

    Attributes:
        words: name -> text, of the address: its own parts and what stands behind the "?".
        data: of a POST the JSON that it brings, an object.
        body: of an upload its bytes.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""

    def word(self, name: str) -> str | None:
        """Return a word of the address, None where it is not there or empty."""
        return self.words.get(name) or None

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """Return a whole number of the address; raises Refused where it is none between `least` and `most`."""
        text = self.words.get(name)
        if text is None and default is not None:
            return default
        number = int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else -1
        if not least <= number <= most:
            raise Refused(400, f"{name} must be a whole number between {least} and {most}.")
        return number

    def listed(self, name: str, kind: type, most: int) -> list[Any]:
        """Return a list of the JSON, of at most `most` values of a kind; raises Refused where it is none."""
        found = self.data.get(name, [])
        if not isinstance(found, list) or len(found) > most or not all(type(each) is kind for each in found):
            raise Refused(400, f"{name} must be a list of at most {most} values ({kind.__name__}).")
        return found


@dataclass(frozen=True)
class Content:
    """An answer that is no JSON.

    Attributes:
        body: its bytes.
        kind: the media type.
        seconds: how long the browser may keep it.
        policy: its own content security policy; that of the page unless given.
    """

    body: bytes
    kind: str
    seconds: int = 0
    policy: str | None = None


Answer = Callable[[Opened, Asked], "Content | Mapping[str, Any]"]


@dataclass(frozen=True)
class Route:
    """One question and what answers it, in a thread of its own.

    Attributes:
        method: "GET" changes nothing; "POST" brings JSON, or with `upload` a file.
        path: of the address, as Starlette writes it: "/api/row/{row}".
        answer: returns what goes back, a mapping as JSON; raises FxError or `Refused` with a sentence for the person.
        upload: whether it brings a file instead of JSON: one at a time.
        most: bytes that it may bring.
    """

    method: Literal["GET", "POST"]
    path: str
    answer: Answer
    upload: bool = False
    most: int = _JSON
