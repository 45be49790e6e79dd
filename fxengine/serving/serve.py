"""Serves the page of a store on this machine until it is interrupted."""

from __future__ import annotations

import socket
import time
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from fxengine.collect.paths import several
from fxengine.errors import InputError, at_least, path_of, reason
from fxengine.features.read import FeatureStore
from fxengine.serving.guard import Keys, is_private
from fxengine.serving.opened import Opened
from fxengine.trust import name_pictures

_PAGE = ".html"


@dataclass(frozen=True)
class Served:
    """What was served.

    Attributes:
        store: folder of the store.
        host: the address that it listened on.
        port: the port.
        seconds: how long.
    """

    store: str
    host: str
    port: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def serve(
    store: str | Path,
    *,
    model: str | Path | None = None,
    reports: str | Path | Sequence[str | Path] = (),
    pictures: str | Path | None = None,
    review: str | Path | None = None,
    port: int = 0,
    host: str = "127.0.0.1",
    others_may_see: bool = False,
    open: bool = False,
    layer: str | None = None,
    backbone: str | Path | None = None,
    device: str = "auto",
    tell: Callable[[str], None] = print,
) -> Served:
    """Serve a page over a store to one person on this machine, until it is interrupted (Ctrl-C).

    Nothing that the page does changes the store.

    Args:
        store: folder of a feature store.
        model: a head file, which answers for every row.
        reports: pages (.html) that `probe`, `finetune` and others wrote, or folders of them, to open beside the store.
        pictures: a folder; what lies below it is shown, too, where the store is not your own.
        review: the folder of what is answered in the page: labels and decisions. It lies beside the store unless given;
            a store in a bucket has none without it, and can only be looked at.
        port: a port; a free one unless given.
        host: the address to listen on. Another one than this machine's own wants `others_may_see`.
        others_may_see: whoever reaches `host` and has the link may see the store's pictures and texts, and what goes
            over the network is not encrypted.
        open: whether to open the page in the browser.
        layer: a further layer's name; the default one unless given.
        backbone: as for `search`: only where the cache does not have the net that queries go through.
        device: "auto", "cpu", "cuda" or "tensorrt".
        tell: called with the link, which opens the page once.

    Raises:
        InputError: starlette or uvicorn is not installed, the port is in use, or a head or page cannot be read.
        StoreError: there is no such store, or the head is of another space.
    """
    _ensure_installed()
    opened = open_for_page(store, model=model, reports=reports, pictures=pictures, review=review, layer=layer,
                           backbone=backbone, device=device)  # fmt: skip
    at_least("port", port, 0, 65535)
    if not (is_private(host) or others_may_see):
        raise InputError(
            f"`host` {host} can be reached from other machines. Where others may see what the store holds, say so: "
            "`others_may_see`."
        )
    began = time.monotonic()
    with _listening(host, port) as listening:
        keys = Keys(host, listening.getsockname()[1])
        run = _server(opened, keys, listening)
        tell(keys.url)
        if open:
            webbrowser.open(keys.url)
        run()
    return Served(str(store), host, keys.port, round(time.monotonic() - began, 1))


def open_for_page(
    store: str | Path,
    *,
    model: str | Path | None = None,
    reports: str | Path | Sequence[str | Path] = (),
    pictures: str | Path | None = None,
    review: str | Path | None = None,
    layer: str | None = None,
    backbone: str | Path | None = None,
    device: str = "auto",
) -> Opened:
    """Return a store as the page looks at it; arguments and errors are those of `serve`."""
    opened = FeatureStore.open(store)
    opened.provenance.column(layer)
    if pictures is not None:
        name_pictures(pictures)
    head = None
    if model is not None:
        from fxengine.heads.file import Head  # loads ONNX Runtime

        head = Head.load(Path(model))
        head.check_space(opened.provenance.space, str(store))
        if head.facts.layer != layer:
            raise InputError(f"`model` takes the layer {head.facts.layer or 'that is the default'}: give that `layer`.")
    answers = None if review is None else path_of("review", review)
    return Opened(opened, layer, backbone, device, head, _pages(several("reports", reports)), answers)


def _pages(given: Sequence[Path]) -> tuple[Path, ...]:
    found = list[Path]()
    for path in given:
        inside = sorted(path.glob(f"*{_PAGE}")) if path.is_dir() else [path]
        if not inside or not all(each.is_file() and each.suffix == _PAGE for each in inside):
            raise InputError(f"`reports` {path} is no {_PAGE} file and no folder that has one.")
        found += inside
    return tuple(found)


def _ensure_installed() -> None:
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} is not installed: pip install 'fxengine[web]'.")


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; browsers that come before the server is ready wait in it."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise InputError(
            f"`port` {port} of {host} cannot be listened on: {reason(error)}. Leave it away for a free one."
        ) from error
    # What is accepted has it, too: an answer in two pieces waits 40 ms for the browser without it, and asyncio sets it
    # only where a socket was made with the protocol's number.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _server(opened: Opened, keys: Keys, listening: socket.socket) -> Callable[[], None]:
    """Return what serves until a signal ends it; what is under way then is not waited for."""
    from uvicorn import Config, Server

    from fxengine.serving.connection import TimelyProtocol
    from fxengine.serving.server import application

    _ = opened.rows  # a damaged store is said here, and not on the page
    pa.default_memory_pool().release_unused()  # what its columns were read by, several times what they take
    config = Config(
        application(opened, keys),
        http=TimelyProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=0,
    )
    server = Server(config)

    def run() -> None:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])

    return run
