"""`fxengine index`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_layer, add_metric, add_store, call, milliseconds, share, size
from fxengine.ui.console import complain_of, progress_lines, say, say_result, silent, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.neighbours.index_store import IndexReport
    from fxengine.neighbours.tune import Trial

TEXT = "make search fast: choose, build and tune an index, or bring it up to date"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    parser.add_argument("--recall", type=share, metavar="R", help="share of the 10 exact neighbours to find (0.95)")
    parser.add_argument("--memory", type=size, metavar="SIZE", help="most memory, such as 1GB")
    parser.add_argument("--latency", type=milliseconds, metavar="TIME", help="longest time of a query, such as 5ms")
    add_metric(parser)
    parser.add_argument("--factory", metavar="NAME", help="FAISS's name of an index, for those who know")
    parser.add_argument(
        "--queries", type=Path, metavar="NPY", help="vectors to tune with, where queries are unlike the rows"
    )
    parser.add_argument("--rebuild", action="store_true", help="choose and build anew")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.neighbours.index_store import index

    report = call(index, options, progress=progress_lines(silent(options)))
    say_result(options, report.to_dict, lambda: show(report))
    return FINE


def show(report: IndexReport) -> None:
    """Print what was tried and what came of it."""
    facts = report.facts
    if report.done == "unchanged":
        say(f"{report.folder} is true to the store: nothing to do (--rebuild builds it anew)")
    numbers = ["recall@1", "recall@10", "queries/s", "ms", "MB", "built in s"]
    table(["index", "asked with", *numbers], [_row(trial) for trial in facts.trials], numbers)
    say(
        f"{facts.trial.factory}: recall@10 {facts.trial.recall.at_10:.1%} "
        f"({facts.trial.recall.low:.1%} to {facts.trial.recall.high:.1%}), measured on {facts.queries}"
    )
    for sentence in report.shortcomings:
        complain_of(sentence)
    if facts.added or facts.removed:
        say(f"since then {facts.added} rows were added and {facts.removed} removed")
    say(f"{report.rows} rows in {report.folder}")


def _row(trial: Trial) -> list[str]:
    asked = ", ".join(f"{name} {value}" for name, value in trial.parameters.items())
    recall = trial.recall
    return [
        trial.factory,
        asked,
        f"{recall.at_1:.1%}",
        f"{recall.at_10:.1%} ({recall.low:.1%}-{recall.high:.1%})",
        f"{trial.queries_per_second:.0f}",
        f"{trial.latency_ms:.2f}",
        f"{trial.megabytes:.0f}",
        f"{trial.build_seconds:.0f}",
    ]
