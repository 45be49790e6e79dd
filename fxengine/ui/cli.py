"""The command line: finds the command, runs it, and turns what goes wrong into a sentence and an exit code."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from fxengine.errors import FxError
from fxengine.ui import console
from fxengine.ui.commands import COMMANDS, load_command
from fxengine.ui.exit_codes import FINE, INTERRUPTED, MISTAKE
from fxengine.ui.supervise import crash_notes, ending_signals, is_child, is_store, supervise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of a file is in the file's row
    options = build_parser().parse_args(arguments)
    options.stopped = INTERRUPTED
    if options.command == "extract" and not is_child():
        return supervise(arguments, options.output)
    if options.command == "predict" and not is_child() and not is_store(options.source):
        with crash_notes() as notes:
            return supervise(arguments, notes)
    for number in ending_signals():
        signal.signal(number, partial(_terminate, options))
    try:
        with console.native_libraries_silenced():
            return load_command(options.command).run(options)
    except FxError as error:
        console.complain("\n".join(map(console.printable, f"fxengine: {error}".split("\n"))))
        return MISTAKE
    except KeyboardInterrupt:
        console.complain("fxengine: interrupted")
        return int(options.stopped)
    except BrokenPipeError:
        sys.stdout = None
        return FINE


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = _Parser(
        prog="fxengine", description="Embed pictures once, into Parquet; then probe and search in seconds."
    )
    parser.add_argument("--version", action="version", version=f"fxengine {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    for name in COMMANDS:
        module = load_command(name)
        command = commands.add_parser(name, help=module.TEXT, description=module.TEXT)
        command.set_defaults(command=name)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        module.add_arguments(command)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(MISTAKE, f"{self.prog}: {message}\n")


def _version() -> str:
    import fxengine

    return fxengine.__version__


def _terminate(options: argparse.Namespace, number: int, _: object) -> None:
    """Stop as cleanly on SIGTERM, and when the terminal closes, as on Ctrl-C."""
    options.stopped = 128 + number
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
