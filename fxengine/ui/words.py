"""The words of the command line for those of the library: its messages name parameters, people give flags."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\s]+))?`")

_flags: dict[str, str] = {}


def learn(commands: Mapping[str, argparse.ArgumentParser], running: str) -> None:
    """Take the words of every command; where two have a parameter of one name, of the one that runs."""
    _flags.clear()
    for name in (*commands, running):
        for action in commands[name]._actions:
            if action.help != argparse.SUPPRESS:  # a former name
                shown = max(action.option_strings, key=len) if action.option_strings else action.metavar or action.dest
                _flags[action.dest] = str(shown)


def flags_of(command: argparse.ArgumentParser) -> list[str]:
    """Return every flag that a command takes, in all its spellings."""
    return [flag for action in command._actions for flag in action.option_strings]


def in_flags(text: str) -> str:
    """Return a sentence of the library with its parameters (`max_pixels`) as flags (--max-pixels).

    What is in backticks and no parameter of any command stays as it is.
    """
    return _PARAMETER.sub(_flag, text)


def _flag(found: re.Match[str]) -> str:
    flag = _flags.get(found[1])
    if flag is None:
        return found[0]
    value = (found[2] or "").strip("\"'")
    return flag if value in ("", "True") else f"{flag} {value}"
