"""What a repository of texts says wrongly is told in its own words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources.from_hf import export
from fxengine.errors import InputError
from tests.backbones.sources.hf_nets import DIM, safetensors, sentence_transformers, tokenizer

DENSE = {"in_features": DIM - 1, "out_features": 2, "activation_function": "torch.nn.modules.linear.Identity"}


def refused(folder: Path, files: dict[str, object]) -> str:
    sentence_transformers(folder, files=files)
    with pytest.raises(InputError) as error:
        export(str(folder), ExportOptions())
    return str(error.value)


def test_a_pooling_that_there_is_not(tmp_path: Path) -> None:
    said = refused(tmp_path, {"1_Pooling/config.json": {"pooling_mode": "median"}})
    assert said.startswith(f"{tmp_path} says no pooling that fxengine has (median): give `pooling`.")


def test_a_layer_for_other_vectors(tmp_path: Path) -> None:
    modules = [
        {"path": f"{i}_{kind}", "type": f"a.{kind}"} for i, kind in enumerate(("Transformer", "Pooling", "Dense"))
    ]
    weights = safetensors({"linear.weight": np.ones((2, DIM - 1))})
    files = {"modules.json": modules, "2_Dense/config.json": DENSE, "2_Dense/model.safetensors": weights}
    said = refused(tmp_path, {**files})
    assert said == f"{tmp_path} has a Dense (modules.json) for {DIM - 1} numbers, and gets {DIM}."


@pytest.mark.parametrize("most", [1, 3])
def test_too_few_tokens(tmp_path: Path, most: int) -> None:
    said = refused(tmp_path, {"sentence_bert_config.json": {"max_seq_length": most}})
    assert said == f"{tmp_path} says that its net takes {most} tokens, less than 4."


@pytest.mark.parametrize("number", [-1, 2**31, 2**70, float("inf")])
def test_ids_that_are_none(tmp_path: Path, number: float) -> None:
    values = json.loads(tokenizer())
    values["model"]["vocab"]["good"] = number
    said = refused(tmp_path, {"tokenizer.json": values})
    assert said.startswith(f"{tmp_path}/tokenizer.json is no tokenizer that fxengine knows: ")
