"""The words of the command line for those of the library: its messages name parameters, people give flags."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping

_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\s]+))?`")

Commands = Mapping[str, argparse.ArgumentParser]

_MAKERS = ("extract", "export")  # whose flags most sentences are about
_flags: dict[str, str] = {}
_elsewhere: dict[str, str] = {}  # of what the command that runs lacks, who has it
_others: list[Callable[[], Commands]] = []


def learn(commands: Commands, running: str, others: Callable[[], Commands] | None = None) -> None:
    """Take the words of commands; where two have a parameter of one name, of the one that runs.

    Args:
        commands: name -> parser.
        running: the one that runs.
        others: gives all commands, asked once a sentence names what `commands` have not; it then says whose it is.
    """
    _flags.clear()
    _elsewhere.clear()
    _others[:] = [] if others is None else [others]
    for name in (*commands, running):
        _flags.update(_words_of(commands[name]))


def _words_of(command: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in command._actions:
        if action.help != argparse.SUPPRESS:  # a former name
            shown = max(action.option_strings, key=len) if action.option_strings else action.metavar or action.dest
            yield action.dest, str(shown)


def flags_of(command: argparse.ArgumentParser) -> list[str]:
    """Return every flag that a command takes, in all its spellings."""
    return [flag for action in command._actions for flag in action.option_strings]


def in_flags(text: str) -> str:
    """Return a sentence of the library with its parameters (`max_pixels`) as flags (--max-pixels).

    What is in backticks and no parameter of any command stays as it is. A flag that the running command lacks comes
    with the one that has it, unless the sentence names a command itself.
    """
    named = "`fxengine " in text
    return _PARAMETER.sub(lambda found: _flag(found, named), text)


def _flag(found: re.Match[str], named: bool) -> str:
    if found[1] not in _flags and _others:
        commands = _others.pop()()
        for command in sorted(commands, key=lambda name: name not in _MAKERS):
            for name, shown in _words_of(commands[command]):
                if name not in _flags:
                    _flags[name], _elsewhere[name] = shown, f" of `fxengine {command}`"
    flag = _flags.get(found[1])
    if flag is None:
        return found[0]
    value = (found[2] or "").strip("\"'")
    return (flag if value in ("", "True") else f"{flag} {value}") + ("" if named else _elsewhere.get(found[1], ""))
