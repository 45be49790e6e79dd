"""The commands, one file each.

To add a command: write commands/<name>.py with what `Command` says, and name it here. A command holds no logic: it
calls what computes and prints what that returns.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Protocol, cast


class Command(Protocol):
    """What the module of a command has.

    Attributes:
        TEXT: one line of help.
    """

    TEXT: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command takes, beside --json; this loads nothing heavy."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the command and return its exit code.

        Raises:
            FxError: a mistake, in words for people.
        """


# In the order of the help: from photos to features, from features to answers, then what looks after them.
COMMANDS = (
    "extract",
    "probe",
    "zeroshot",
    "predict",
    "compare",
    "mislabeled",
    "pca",
    "bundle",
    "words",
    "search",
    "index",
    "duplicates",
    "map",
    "cluster",
    "serve",
    "apply",
    "advise",
    "finetune",
    "fit",
    "export",
    "backbones",
    "calibrate",
    "doctor",
    "verify",
    "dump",
    "info",
)

TELLING = ("backbones", "doctor", "info")  # compute nothing: what they print is all that they do


def load_command(name: str) -> Command:
    """Return the module of a command."""
    return cast(Command, import_module(f"fxengine.ui.commands.{name}"))
