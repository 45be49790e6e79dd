"""Pages for people: one self-contained HTML file, pictures inside, everything from outside escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from fxengine.collect.item import unescape_path
from fxengine.decode.picture.thumbnail import thumbnail
from fxengine.errors import DecodeError
from fxengine.ui.console import printable

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: 0.25rem 0.75rem; text-align: left; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 12rem; }
figure img, figure .missing { width: 12rem; height: 12rem; object-fit: contain; background: #8882; display: flex; align-items: center; justify-content: center; text-align: center; }
figcaption { font-size: 0.8rem; overflow-wrap: anywhere; white-space: pre-line; }
"""  # noqa: E501


def page(title: str, body: str) -> str:
    """Return a whole page; `title` is text, `body` is HTML made by the functions of this file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{text(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def text(value: str) -> str:
    """Return text as HTML; control characters and lone surrogates are shown, line ends kept."""
    return html.escape("\n".join(printable(line) for line in value.split("\n")))


def picture(path: str | Path, caption: str) -> str:
    """Return a thumbnail with its caption, or the reason where the picture cannot be shown."""
    try:
        data = base64.b64encode(thumbnail(path)).decode()
        shown = f'<img src="data:image/jpeg;base64,{data}" alt="{text(caption)}">'
    except DecodeError as error:
        shown = f'<div class="missing">{text(str(error))}</div>'
    return f"<figure>{shown}<figcaption>{text(caption)}</figcaption></figure>"


def drawing(png: bytes, name: str) -> str:
    """Return a plot; `name` is text."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{text(name)}">'


def stored_picture(root: str, key: str, caption: str) -> str:
    """Return the picture of a store's row, with the caption and its id."""
    return picture(Path(root) / unescape_path(key), f"{caption}\n{key}".strip())


def pictures(figures: Iterable[str]) -> str:
    """Return figures side by side, in as many lines as it takes."""
    return f'<div class="pictures">{"".join(figures)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers are set to the right, None is an empty cell."""
    head = "".join(f"<th>{text(name)}</th>" for name in columns)
    lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = f"{value:.4g}" if isinstance(value, float) else f"{value}"
        return f'<td class="number">{shown}</td>'
    return f"<td>{'' if value is None else text(str(value))}</td>"
