"""Writes a page or a plot to a file, which is whole or not there."""

from __future__ import annotations

from pathlib import Path

from fxengine.errors import InputError
from fxengine.files import replacing


def write_text(text: str, path: Path) -> None:
    """Write a page; raises InputError where that cannot be, also where the suffix is neither .html nor .htm."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path} must end in .html.")
    _write(text.encode(), path)


def write_picture(png: bytes, path: Path) -> None:
    """Write a plot; raises InputError where that cannot be, also where the suffix is not .png."""
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} must end in .png.")
    _write(png, path)


def _write(data: bytes, path: Path) -> None:
    try:
        with replacing(path, or_into=True) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        # The file that the system names is the temporary one.
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
