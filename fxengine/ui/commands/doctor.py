"""`fxengine doctor`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fxengine.ui.arguments import call
from fxengine.ui.console import say, say_result
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.repair.doctor import Finding

TEXT = "say what this machine gives the engine, what is wrong with it, and what to do"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--clean-cache",
        action="store_true",
        help="remove from the cache what only saves time, and say how much that freed",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.repair.doctor import doctor

    found = call(doctor, options)
    say_result(options, lambda: found.to_dict()["findings"], lambda: show(found.findings))
    return FINE


def show(findings: Sequence[Finding]) -> None:
    """Print what was found, and what to do."""
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        say(f"{finding.what:<{width}}  {finding.found}")
        if finding.advice is not None:
            say(f"{'':<{width}}  -> {finding.advice}")
    wrong = sum(finding.advice is not None for finding in findings)
    say("nothing is wrong" if not wrong else f"{wrong} to look at")
