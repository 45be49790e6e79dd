"""Pages for people: one self-contained HTML file, pictures and texts inside, everything from outside escaped."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fxengine.collect.stored import stored_path
from fxengine.decode.picture.thumbnail import thumbnail
from fxengine.errors import DecodeError
from fxengine.features.texts import beginning, beginnings, source_is_named, text_store
from fxengine.trust import within_named
from fxengine.ui.console import LINE, printable, shortened

HIDDEN = "Pictures outside the folders that you extracted from or named are not shown."
HIDDEN_TEXTS = "Texts outside the tables and folders that you extracted from or named are not shown."
_HIDDEN = '<div class="missing hidden">not shown</div>'
_HIDDEN_TEXT = '<div class="missing hidden text">not shown</div>'
_GONE = '<div class="missing">The text is not there any more, or is another one now.</div>'
_LINE_ENDS, _SPACES = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]"), re.compile(r"[^\S\n]+")
_JOINERS = re.compile("([\u200c\u200d])")  # letters and emoji are drawn as one, or apart, by them

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: 0.25rem 0.75rem; text-align: left; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 12rem; }
figure img, figure .missing { width: 12rem; height: 12rem; object-fit: contain; background: #8882; display: flex; align-items: center; justify-content: center; text-align: center; }
figure.text { width: 23rem; max-width: 100%; }
figure.text blockquote { margin: 0; padding: 0.5rem 0.75rem; max-height: 14rem; overflow: auto; background: #8882; overflow-wrap: anywhere; white-space: pre-line; }
figure.text .missing { width: auto; height: auto; padding: 0.5rem 0.75rem; }
figcaption { font-size: 0.8rem; overflow-wrap: anywhere; white-space: pre-line; }
"""  # noqa: E501


def page(title: str, body: str) -> str:
    """Return a whole page; `title` is text, `body` is HTML made by the functions of this file."""
    if (hidden := hidden_in(body)) is not None:
        body = f"<p>{text(hidden)}</p>\n{body}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{text(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def hidden_in(body: str) -> str | None:
    """Return what to say where a page leaves out what nobody named, else None; what came from outside cannot do it."""
    return HIDDEN if _HIDDEN in body else HIDDEN_TEXTS if _HIDDEN_TEXT in body else None


def text(value: str) -> str:
    """Return text as HTML; control characters and lone surrogates are shown, line ends kept, long lines cut."""
    return html.escape("\n".join(printable(shortened(line, LINE)) for line in value.split("\n")))


def caption_of(first: str, **names: str | None) -> str:
    """Return what stands below a picture or a text: `first`, then what its row has of these columns, each named."""
    return ", ".join([first, *(f"{column} {name}" for column, name in names.items() if name)])


def picture(path: str | Path, caption: str) -> str:
    """Return a thumbnail with its caption, or the reason where the picture cannot be shown."""
    try:
        data = base64.b64encode(thumbnail(path)).decode()
        shown = f'<img src="data:image/jpeg;base64,{data}" alt="{text(caption)}">'
    except DecodeError as error:
        shown = f'<div class="missing">{text(str(error))}</div>'
    return figure(shown, caption)


def drawing(png: bytes, name: str) -> str:
    """Return a plot; `name` is text."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{text(name)}">'


@dataclass(frozen=True)
class StoredInputs:
    """What the rows of a store were made from.

    Attributes:
        noun: what one is called: "picture" or "text".
        draw: (id, caption) -> HTML.
    """

    noun: str
    draw: Callable[[str, str], str]


def stored_inputs(store: str, root: str, keys: Sequence[str]) -> StoredInputs:
    """Return what draws rows of a store, for one page.

    Args:
        store: its folder; where that cannot be opened (any more), it is taken for one of pictures.
        root: as for `stored_pictures`.
        keys: ids of the rows that are to be drawn.

    Raises:
        StoreError: a part of it is damaged.
    """
    opened = text_store(store)
    if opened is None:
        return StoredInputs("picture", stored_pictures(root))
    found = beginnings(opened, keys)

    def draw(key: str, caption: str) -> str:
        value = found.get(key)
        return _row(value, key, caption, value is None and source_is_named(opened, key))

    return StoredInputs("text", draw)


def _row(value: str | None, key: str, caption: str, is_named: bool) -> str:
    said = f"{caption}\n{key}".strip()
    return passage(value, said) if value is not None else figure(_GONE if is_named else _HIDDEN_TEXT, said, "text")


def passage(value: str, caption: str) -> str:
    """Return the beginning of a text with its caption; several empty lines are one, several spaces, too."""
    lines = (_SPACES.sub(" ", line).strip() for line in _LINE_ENDS.sub("\n", beginning(value)).split("\n"))
    kept = re.sub("\n{3,}", "\n\n", "\n".join(lines))
    escaped = "".join(piece if _JOINERS.fullmatch(piece) else text(piece) for piece in _JOINERS.split(kept))
    return figure(f'<blockquote dir="auto">{escaped}</blockquote>', caption, "text")


def stored_pictures(root: str) -> Callable[[str, str], str]:
    """Return what draws a row's picture of the store of this root, for one page: (id, caption) -> HTML.

    Root and id may be of somebody else's making: a picture is only shown below a folder that this user extracted
    from or named. Links in there are followed, as extraction does: who put them there wanted what they point to.
    """
    is_shown = cache(within_named)

    def draw(key: str, caption: str) -> str:
        path = Path(stored_path(root, key))
        said = f"{caption}\n{key}".strip()
        shown = is_shown(path.parent)
        return picture(path, said) if shown else figure(_HIDDEN, said)

    return draw


def figure(shown: str, caption: str, kind: str = "") -> str:
    """Return what is shown, which is HTML, with its caption, which is text, a line each; `kind` is a class of CSS."""
    caption = "\n".join(map(shortened, caption.split("\n")))
    opening = f'<figure class="{kind}">' if kind else "<figure>"
    return f"{opening}{shown}<figcaption>{text(caption)}</figcaption></figure>"


def pictures(figures: Iterable[str]) -> str:
    """Return figures side by side, in as many lines as it takes."""
    return f'<div class="pictures">{"".join(figures)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers are set to the right, a column of scores with four decimals; None is an empty cell."""
    kept = list(rows)
    within = list(zip(*kept, strict=True)) or [() for _ in columns]
    head = "".join(f"<th{_side(values)}>{text(name)}</th>" for name, values in zip(columns, within, strict=True))
    scores = [_are_scores(values) for values in within]
    lines = "\n".join(f"<tr>{''.join(map(_cell, row, scores))}</tr>" for row in kept)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _side(values: Sequence[object]) -> str:
    return ' class="number"' if any(map(_is_number, values)) and all(v is None or _is_number(v) for v in values) else ""


def _are_scores(values: Sequence[object]) -> bool:
    return all(isinstance(value, float) and (value == 0 or 1e-3 <= abs(value) < 1e4) for value in values)


def _cell(value: object, is_score: bool) -> str:
    if _is_number(value):
        shown = f"{value}" if isinstance(value, int) else f"{value:.4f}" if is_score else f"{value:.4g}"
        return f'<td class="number">{shown}</td>'
    return f"<td>{'' if value is None else text(shortened(str(value)))}</td>"
