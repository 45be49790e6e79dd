"""The copies that a help text needs are what the package uses."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from fxengine import FeatureStore, InputError, ProbeOptions, extract
from fxengine.backbones import DEFAULT
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources.from_vectors import WEIGHTS
from fxengine.backbones.words.rule import RULES
from fxengine.execute import PRECISIONS, onnx_runtime
from fxengine.features.schema import Dtype
from fxengine.neighbours.metric import METRICS
from fxengine.retrieval.map import METHODS
from fxengine.train.options import FinetuneOptions
from fxengine.ui import arguments
from fxengine.ui.cli import main
from fxengine.ui.commands import load_command


def values_of(kind: Any) -> tuple[str, ...]:
    """Return the values of `Literal[...] | None`."""
    return get_args(get_args(kind)[0])


def parsed(command: str, *given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    load_command(command).add_arguments(parser)
    return parser.parse_args(given)


def test_the_choices_of_the_help_are_those_there_are() -> None:
    export = get_type_hints(ExportOptions)
    assert arguments.BACKBONE == DEFAULT
    assert ("auto", *onnx_runtime.NAMES) == arguments.DEVICES
    assert ("auto", *PRECISIONS) == arguments.PRECISIONS
    assert get_args(Dtype) == arguments.DTYPES
    assert tuple(METRICS) == arguments.METRICS
    assert arguments.MAP_METHODS == METHODS
    assert values_of(export["pooling"]) == arguments.POOLINGS
    assert values_of(export["channels"]) == arguments.CHANNELS
    assert values_of(export["word_weights"]) == arguments.WORD_WEIGHTS == WEIGHTS
    assert tuple(RULES) == arguments.TOKEN_RULES


@pytest.mark.parametrize(
    ("command", "given", "options"),
    [
        ("finetune", ["photos"], FinetuneOptions()),
        ("probe", ["store"], ProbeOptions()),
        ("export", ["source", "-o", "net.onnx"], ExportOptions()),
    ],
)
def test_what_is_not_given_is_the_default_of_the_options(
    command: str, given: list[str], options: FinetuneOptions | ProbeOptions | ExportOptions
) -> None:
    found, defaults = vars(parsed(command, *given)), asdict(options)
    assert {each.name for each in fields(options)} <= found.keys()
    assert {name: found[name] for name in defaults} == defaults


def test_an_empty_path_is_not_the_folder_that_one_is_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["extract", "", "-o", "x"], ["extract", str(tmp_path), "-o", ""], ["search", "", "a"], ["info", ""]):
        with pytest.raises(SystemExit):
            sys.exit(main(line))
        assert "empty: give a path, or . for the folder that you are in" in capsys.readouterr().err
    for ask in (lambda: extract("", tmp_path / "x"), lambda: extract(tmp_path, ""), lambda: FeatureStore.open("")):
        with pytest.raises(InputError, match="is empty: give a path"):
            ask()
