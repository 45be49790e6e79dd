"""The commands, one file each.

To add a command: write commands/<name>.py with TEXT (one line of help), add_arguments(parser) and
run(options) -> exit code, and name it here. A command holds no logic: it calls a task and prints what that returns.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

# In the order of the help: from photos to features, from features to answers, then what looks after them.
COMMANDS = (
    "extract",
    "probe",
    "predict",
    "compare",
    "mislabeled",
    "pca",
    "bundle",
    "search",
    "index",
    "duplicates",
    "map",
    "cluster",
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


def load_command(name: str) -> ModuleType:
    """Return the module of a command."""
    return import_module(f"fxengine.ui.commands.{name}")
