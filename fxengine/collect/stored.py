"""Where the inputs of a store lie: what it says of that is believed only where this user named the folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fxengine.collect.item import unescape_path
from fxengine.errors import InputError
from fxengine.trust import within_named

_SHOWN = 200  # characters of a folder


def stored_path(root: str, key: str) -> str:
    """Return the file of a row; a ".." goes before any link is followed, as `ensure_named` has looked at it."""
    return os.path.normpath(Path(root) / unescape_path(key))


def is_named(path: str) -> bool:
    """Tell whether a row's file lies in a folder that this user extracted from or named."""
    return within_named(Path(path).parent)


def ensure_named(root: str, keys: Iterable[str]) -> None:
    """Raise InputError where an input lies in a folder that this user neither extracted from nor named.

    Args:
        root: what a store says that its ids are relative to.
        keys: its ids.
    """
    folders = {os.path.dirname(stored_path(root, key)) for key in keys}  # noqa: PTH120
    for folder in sorted({root, *folders}):
        if not within_named(folder):
            raise InputError(
                f"The store says that its inputs lie in {folder[:_SHOWN]}, from which you did not extract: one from "
                "others may name any folder. Where it is right, name it, or one above it, as `pictures`."
            )
