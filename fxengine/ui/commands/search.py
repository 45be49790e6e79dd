"""`fxengine search`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_backbone, add_layer, positive
from fxengine.ui.console import printable, say, say_json, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.tasks.search import SearchReport

TEXT = "find the stored pictures nearest to a query"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    parser.add_argument("query", type=Path, help="a picture")
    parser.add_argument("-k", type=positive, default=10, help="neighbours (10)")
    add_layer(parser)
    add_backbone(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.tasks.search import search

    report = search(
        options.store,
        options.query,
        options.k,
        backbone=options.backbone,
        device=options.device,
        layer=options.layer,
    )
    if options.json:
        say_json(report.to_dict())
    else:
        show(report)
    return FINE


def show(report: SearchReport) -> None:
    """Print the neighbours of a query."""
    rows = [[str(i), f"{n.score:.4f}", n.label or "", n.id] for i, n in enumerate(report.neighbours, 1)]
    say(f"nearest to {printable(report.query)} among {report.rows} rows")
    table(["", "cosine", "label", "id"], rows, {"", "cosine"})
    say(
        f"store opened in {report.open_ms:.0f} ms, backbone loaded in {report.load_ms:.0f} ms; "
        f"first query {report.first_ms:.1f} ms, warm {report.warm_ms:.1f} ms (exact, cosine)"
    )
