"""JSON that a net's makers wrote beside it: of a bounded size, read without waiting for a pipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fxengine.errors import InputError, explained
from fxengine.files import read_small

_MOST = 1 << 26  # bytes: the largest tokenizers have half as many
_MOST_INNER = 2_000_000  # lists and objects: three bytes of text become a hundred of memory


def json_in(path: Path) -> Any:
    """Return what is in a file of JSON; raises InputError where it is none, or too large."""
    with explained(f"{path} cannot be read", kind=InputError):
        text = read_small(path.resolve(), _MOST)
    if text.count(b"[") + text.count(b"{") > _MOST_INNER:
        raise InputError(f"{path} has over {_MOST_INNER:,} lists and objects: that is no net's.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error


def object_in(path: Path) -> dict[str, Any]:
    """Return the object in a file of JSON; raises InputError where it has none."""
    values = json_in(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} is no object of JSON.")
    return values
