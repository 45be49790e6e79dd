"""What the library calls parameters, the command line calls flags."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator

import pytest

from fxengine.ui import words
from fxengine.ui.cli import build_parser
from tests.conftest import ROOT

# Names in backticks that are no parameters of a command: of the graph, of files, of other libraries, of Python.
WRITTEN = re.compile(r"`([a-z][a-z0-9_]*)(?:=[^`\\s]+)?`")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    words.learn({"none": argparse.ArgumentParser(add_help=False)}, "none")


@pytest.mark.parametrize(
    ("command", "said", "shown"),
    [
        ("extract", "9 pixels; `max_pixels` allows 4.", "9 pixels; --max-pixels allows 4."),
        ("extract", "Give another folder as `output`.", "Give another folder as --output."),
        ("probe", "`head` must be one of these.", "--head must be one of these."),
        ("search", "`k` must be between 1 and 20.", "-k must be between 1 and 20."),
        ("search", "`store` is none.", "store is none."),
        ("extract", "`listing` is empty.", "--list is empty."),
        ("search", "Set `yes=True`, or `metric='l2'`.", "Set --yes, or --metric l2."),
        ("search", "The graph's `no_such_thing` stays.", "The graph's `no_such_thing` stays."),
        ("search", "`fxengine index STORE` updates it.", "`fxengine index STORE` updates it."),
        ("info", "`max_pixels` of another command", "--max-pixels of another command"),
    ],
)
def test_a_parameter_becomes_a_flag(command: str, said: str, shown: str) -> None:
    words.learn(build_parser().commands, command)
    assert words.in_flags(said) == shown


def test_what_the_command_lacks_is_named_with_the_command_that_has_it() -> None:
    every = build_parser().commands
    words.learn({"finetune": every["finetune"]}, "finetune", lambda: every)
    assert words.in_flags("Give `scale=1` or `preprocess`.") == "Give --scale 1 of `fxengine export` or --preprocess."
    assert words.in_flags("See `fxengine export`, `scale=1`.") == "See `fxengine export`, --scale 1."
    assert words.in_flags("Keep another with `layers`.").startswith("Keep another with --layer")


def test_without_a_command_line_a_sentence_stays() -> None:
    words.learn({"none": argparse.ArgumentParser(add_help=False)}, "none")
    assert words.in_flags("`max_pixels` allows 4.") == "`max_pixels` allows 4."


def test_every_parameter_that_a_sentence_names_has_a_flag() -> None:
    words.learn(build_parser().commands, "extract")
    unknown = []
    for path in sorted((ROOT / "fxengine").rglob("*.py")):
        for text in texts(ast.parse(path.read_text())):
            unknown += [
                (path.name, name) for name in re.findall(r"`[a-z][a-z0-9_]*`", text) if words.in_flags(name) == name
            ]
    assert unknown == []


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a file that are no docstrings."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value
