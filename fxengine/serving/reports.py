"""Pages that other commands wrote, opened beside the store."""

from __future__ import annotations

from fxengine.errors import reason
from fxengine.files import open_regular
from fxengine.serving.opened import Opened, Refused
from fxengine.serving.route import Asked, Content, Route

# A page from elsewhere may show what it holds and nothing more: no script, no frame, no word to anybody.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
_MOST = 200_000_000  # bytes


def report(opened: Opened, asked: Asked) -> Content:
    """Return a page by its number in the order of `Opened.reports`."""
    number = asked.whole("number", 0, 1 << 20)
    if number >= len(opened.reports):
        raise Refused(404, f"There is no report {number}.")
    try:
        with open_regular(opened.reports[number], follow=True) as file:
            content = file.read(_MOST)
    except OSError as error:
        raise Refused(404, f"The report cannot be read: {reason(error)}.") from error
    return Content(content, "text/html; charset=utf-8", policy=_POLICY)


ROUTES = (Route("GET", "/report/{number}", report),)
