"""The routes as a Starlette application, behind the guard; the only file that knows Starlette."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from fxengine.errors import FxError, is_foreign, reason
from fxengine.serving import about, decide, gallery, label, pictures, places, reports, search
from fxengine.serving.guard import Guard, Keys
from fxengine.serving.opened import Opened, Refused
from fxengine.serving.route import Asked, Content, Route

_LOG = logging.getLogger("fxengine")
# Every group of routes: a module with ROUTES, what the page asks of one subject.
GROUPS = (about, gallery, pictures, search, places, label, decide, reports)
_STATIC = Path(__file__).with_name("static")
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TOKEN = "FXENGINE_TOKEN"  # stands in index.html for what the page brings with every POST
_SECONDS = 20.0  # that a request may take to arrive

Endpoint = Callable[[Request], Awaitable[Response]]


def application(opened: Opened, keys: Keys) -> Guard:
    """Return the ASGI application that serves a store to one person."""
    routes = [route for group in GROUPS for route in group.ROUTES]
    uploading = asyncio.Lock()
    made = [StarletteRoute(route.path, _endpoint(route, opened, uploading), methods=[route.method]) for route in routes]
    return Guard(Starlette(routes=[*_static_routes(keys), *made]), keys)


def _static_routes(keys: Keys) -> list[StarletteRoute]:
    """Return the routes of the page's own files, each by its name: no path is ever made of what is asked for."""
    found = []
    for path in sorted(_STATIC.iterdir()):
        content = path.read_text().replace(_TOKEN, keys.page) if path.name == "index.html" else path.read_text()
        address = "/" if path.name == "index.html" else f"/static/{path.name}"
        found.append(StarletteRoute(address, _file(content, _KINDS[path.suffix])))
    return found


def _file(content: str, kind: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _endpoint(route: Route, opened: Opened, uploading: asyncio.Lock) -> Endpoint:
    """Return what answers a request by a route; what is refused is a sentence in JSON."""

    async def answer(request: Request) -> Response:
        try:
            asked = await _asked(route, request, uploading)
            return _response(await run_in_threadpool(route.answer, opened, asked))
        except Refused as error:
            return _json({"error": str(error)}, error.status)
        except FxError as error:
            return _json({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            if is_foreign(error):
                return _json({"error": f"{reason(error).rstrip('.')}."}, 500)
            _LOG.exception("fxengine: this is a fault of fxengine: please report it.")
            return _json({"error": "This is a fault of fxengine: the terminal says more."}, 500)

    return answer


async def _asked(route: Route, request: Request, uploading: asyncio.Lock) -> Asked:
    words = {**request.query_params, **request.path_params}
    if route.method == "GET":
        return Asked(words)
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if route.upload:
        if uploading.locked():
            raise Refused(429, "A picture is being brought already: one at a time.")
        async with uploading:
            return Asked(words, body=await _body(request, route.most))
    if kind != "application/json":
        raise Refused(415, "This takes JSON.")
    try:
        data = json.loads(await _body(request, route.most))
    except (ValueError, RecursionError) as error:
        raise Refused(400, "This takes JSON, and that is none.") from error
    if not isinstance(data, dict):
        raise Refused(400, "This takes a JSON object.")
    return Asked(words, data)


async def _body(request: Request, most: int) -> bytes:
    """Return what a request brings; raises Refused where it is too much, or takes too long."""
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise Refused(413, f"That is more than the {most / 1e6:.0f} MB that this takes.")
                parts.append(part)
    except TimeoutError as error:
        raise Refused(408, f"That took longer than {_SECONDS:.0f} seconds to arrive.") from error
    return b"".join(parts)


def _response(found: Content | Mapping[str, Any]) -> Response:
    if not isinstance(found, Content):
        return _json(found, 200)
    headers = {"cache-control": f"private, max-age={found.seconds}" if found.seconds else "no-store"}
    if found.policy is not None:
        headers["content-security-policy"] = found.policy
    return Response(found.body, headers=headers, media_type=found.kind)


def _json(data: Mapping[str, Any], status: int) -> Response:
    return Response(json.dumps(data, allow_nan=False), status, media_type="application/json")
