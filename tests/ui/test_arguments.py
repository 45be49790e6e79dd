"""The copies that a help text needs are what the package uses."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from typing import Any, get_args, get_type_hints

import pytest

from fxengine import ProbeOptions
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
