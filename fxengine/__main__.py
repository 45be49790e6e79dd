"""Lets `python -m fxengine` do what the `fxengine` command does, and is that command."""

import atexit
import os
import signal
from typing import NoReturn

# What is loaded first takes a moment, in which a Ctrl-C would be answered with a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))


def run() -> NoReturn:
    """Run the command line as a process of its own."""
    from fxengine.ui import cli, console

    console.open_closed()
    try:
        code = cli.main()
    except SystemExit as stopped:  # after a help text, a mistake in the arguments, or where nobody reads any more
        code = int(stopped.code or 0)
    code = console.finish(code)
    if code <= 128:  # interrupted, temporary files are left to the next run: threads may still write into them
        atexit._run_exitfuncs()
    # Threads in native code may never end, and leaving would wait for them; and where those of a library are still at
    # work while Python takes itself down, the process has ended by an abort.
    os._exit(code)


if __name__ == "__main__":
    run()
