"""Tells how far a long download is, in place of a library's own bars, which may show signed addresses."""

from __future__ import annotations

import logging
import time
from typing import Any

from tqdm.std import tqdm

_LOG = logging.getLogger("fxengine")
_EVERY = 5.0  # seconds


def telling(what: str) -> type[tqdm]:
    """Return what `huggingface_hub` takes for a bar: it logs a line every five seconds.

    Args:
        what: what is fetched, in a sentence.
    """

    class Telling(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self._first, self._begin = self.n, time.monotonic()
            self._told = self._begin

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            now = time.monotonic()
            if now - self._told >= _EVERY:
                self._told = now
                _LOG.warning(
                    "fxengine: fetching %s: %s", what, said(self.n, self.total, self.n - self._first, now - self._begin)
                )

    return Telling


def said(done: float, total: float | None, since: float, seconds: float) -> str:
    """Return how far something is: bytes that are here and that there are, if known, and the rate of the last ones."""
    rate = since / seconds
    of = "" if not total else f" of {total / 1e6:,.0f}"
    left = "" if not total or rate <= 0 else f", {max(0.0, total - done) / rate:,.0f} s left"
    return f"{done / 1e6:,.0f}{of} MB, {rate / 1e6:,.1f} MB/s{left}"
