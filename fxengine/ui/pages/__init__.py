"""Reports and plots, made with HTML or matplotlib from what the verbs return.

To add one, write pages/NAME.py with a function `NAME_page` that is a `Page`, and add the class of the result to PAGES.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from fxengine.errors import InputError
from fxengine.trust import name_pictures
from fxengine.ui.page_file import write_picture, write_text
from fxengine.ui.pages import html

# The class of a result -> the module here.
PAGES = {
    "ClusterReport": "cluster",
    "Comparison": "compare",
    "DuplicatesReport": "duplicates",
    "FinetuneReport": "finetune",
    "MapReport": "map",
    "PcaReport": "pca",
    "ProbeReport": "probe",
    "SearchReport": "search",
    "Suspects": "mislabeled",
}


class Page(Protocol):
    """What draws a result."""

    def __call__(self, result: Any, /) -> str | bytes:
        """Return a self-contained HTML page, or the bytes of a PNG."""


def load_page(name: str) -> Page:
    """Return what draws the results of a class; raises KeyError where nothing does."""
    module = PAGES[name]
    return cast(Page, getattr(import_module(f"fxengine.ui.pages.{module}"), f"{module}_page"))


def write_page(
    result: object,
    path: str | Path,
    *,
    pictures: str | Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Write what a verb returned for people: a page with pictures or texts, of `map` and `pca` a plot.

    A store may be somebody else's: pictures and texts that it does not hold itself are shown below folders that this
    user extracted from, or names.

    Args:
        result: what `search`, `duplicates`, `cluster`, `mislabeled`, `probe`, `compare`, `finetune`, `map` or `pca`
            returned.
        path: the .html file, of a plot the .png file.
        pictures: a folder whose pictures or texts may be shown, from now on.
        tell: called with a sentence where some are not shown.

    Raises:
        InputError: the result has no page, there is no such folder, or the file cannot be written.
        StoreError: a part of a store of texts is damaged.
    """
    name = type(result).__name__
    if name not in PAGES:
        raise InputError(f"{name} has no page. There is one of: {', '.join(PAGES)}.")
    if pictures is not None:
        name_pictures(pictures)
    made = load_page(name)(result)
    if isinstance(made, bytes):
        write_picture(made, Path(path))
        return
    write_text(made, Path(path))
    if tell is not None and (hidden := html.hidden_in(made)) is not None:
        tell(f"{hidden} `pictures` names a folder.")
