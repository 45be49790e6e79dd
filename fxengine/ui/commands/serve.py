"""`fxengine serve`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fxengine.ui.arguments import add_backbone, add_layer, add_store, call
from fxengine.ui.console import complain, say_result
from fxengine.ui.exit_codes import FINE

TEXT = "look at a store in the browser: gallery, search, map, labels, duplicates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    parser.add_argument("--model", type=Path, metavar="HEAD", help="a head, which answers for every row")
    parser.add_argument(
        "--reports", type=Path, nargs="+", default=[], metavar="HTML", help="pages of other commands, to open beside it"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="show pictures below it, too, where the store is not your own"
    )
    parser.add_argument(
        "--review", type=Path, metavar="FOLDER", help="where labels and decisions are kept (beside the store)"
    )
    parser.add_argument("--port", type=int, default=0, help="a port (a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1, this machine alone)")
    parser.add_argument(
        "--others-may-see", action="store_true", help="with another --host: whoever has the link sees the store"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    add_layer(parser)
    add_backbone(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.serving.serve import serve

    def tell(url: str) -> None:
        complain(f"{options.store} is served until Ctrl-C; this link opens it once:\n{url}")

    served = call(serve, options, tell=tell)
    say_result(options, served.to_dict, lambda: None)
    return FINE
