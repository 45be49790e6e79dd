"""The command line: finds the command, runs it, and turns what goes wrong into a sentence and an exit code."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fxengine.errors import FxError, is_foreign, reason
from fxengine.features.run_folder import notes_folder
from fxengine.ui import console, words
from fxengine.ui.arguments import local_path
from fxengine.ui.commands import COMMANDS, TELLING, load_command
from fxengine.ui.exit_codes import INTERRUPTED, MISTAKE
from fxengine.ui.stopping import SAID, stopping
from fxengine.ui.supervise import crash_notes, is_child, is_store, supervise

_TRACEBACK = "FXENGINE_TRACEBACK"  # set, it shows where something went wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Raises:
        SystemExit: the arguments are a mistake or ask for help, or nobody reads standard output any more.
    """
    options = argparse.Namespace(stopped=INTERRUPTED)
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments), options)
    except KeyboardInterrupt:
        console.complain(SAID)
        return int(options.stopped)
    except Exception as error:
        _tell(error)
        return MISTAKE


def _run(arguments: list[str], options: argparse.Namespace) -> int:
    warnings.filterwarnings("ignore", module=r"PIL\..*")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of a file is in the file's row
    build_parser(_command_of(arguments)).parse_args(arguments, options)
    if options.command == "extract" and not is_child():
        return supervise(arguments, notes_folder(options.store, options.shard or ""))
    if options.command == "predict" and options.inputs and not is_child() and not is_store(options.inputs):
        with crash_notes() as notes:
            return supervise(arguments, notes)
    with stopping(options), console.native_libraries_silenced():
        return load_command(options.command).run(options)


def _tell(error: Exception) -> None:
    """Print what went wrong: a sentence, and where it is our own fault, everything that helps to find it."""
    known = isinstance(error, FxError | RecursionError) or is_foreign(error)
    if not known or os.environ.get(_TRACEBACK):
        console.complain("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, FxError):
        said = str(error)
    elif isinstance(error, RecursionError):
        said = "what was given is nested too deep"
    elif known:
        said = f"{reason(error).rstrip('.')}. {_TRACEBACK}=1 shows where."
    else:
        said = "this is a fault of fxengine, not of what it was given: please report it, with the lines above."
    console.complain_of(said)


def _command_of(arguments: Sequence[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


def build_parser(running: str | None = None) -> _Parser:
    """Return the parser of every command; where one is named, only that one has its arguments, which saves time."""
    parser = _Parser(
        prog="fxengine", description="Embed pictures or texts once, into Parquet; then probe and search in seconds."
    )
    parser.add_argument("--version", action="version", version=f"fxengine {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    for name in COMMANDS:
        module = load_command(name)
        command = commands.add_parser(name, help=module.TEXT, description=module.TEXT)
        command.set_defaults(command=name, quiet=False)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        if name not in TELLING:
            command.add_argument("--quiet", action="store_true", help="print nothing but errors")
        if running in (None, name):
            module.add_arguments(command)
        parser.commands[name] = command
    return parser


class _Parser(argparse.ArgumentParser):
    """Refuses what it does not know with the nearest that it knows.

    Attributes:
        commands: name -> the parser of a command.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: dict[str, argparse.ArgumentParser] = {}
        self.register("type", Path, local_path)

    def parse_args(self, args: Sequence[str], namespace: argparse.Namespace) -> argparse.Namespace:  # type: ignore[override]
        """Read the arguments of a command into `namespace`, and take the words of that command."""
        name = _command_of(args)
        if name:
            if name not in self.commands:
                there = f". There is: {', '.join(self.commands)}."
                self.error(f"There is no command {name!r}{_nearest(name, self.commands) or there}")
            words.learn(self.commands, name, lambda: build_parser().commands)
            _refuse_unknown(name, self.commands[name], args)
        return super().parse_args(args, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse passes over what cannot be written.
        if file is sys.stderr:
            console.complain(message.rstrip("\n"))
        else:
            console.write(message)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(MISTAKE, f"{self.prog}: {message}\n")


def _refuse_unknown(name: str, command: argparse.ArgumentParser, args: Sequence[str]) -> None:
    # Before argparse does: it asks first for what is missing, which is what the mistyped flag is meant for.
    flags = words.flags_of(command)
    for word in args[: args.index("--") if "--" in args else None]:
        flag = word.partition("=")[0]
        if flag.startswith("--") and " " not in word and not any(known.startswith(flag) for known in flags):
            if flag == "--quiet":
                command.error(f"there is no --quiet: what {name} prints is all that it does")
            command.error(f"unrecognized arguments: {flag}{_nearest(flag, flags)}")


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f". Did you mean {near[0]}?" if near else ""


def _version() -> str:
    import fxengine

    return fxengine.__version__


if __name__ == "__main__":
    raise SystemExit(main())
