from __future__ import annotations

import json
import sys

from fxengine.backbones.zoo import list_backbones
from tests.conftest import run_cli


def test_every_name_says_what_it_is_and_what_it_needs() -> None:
    rows = {row["name"]: row for row in list_backbones().backbones}
    assert len(rows) == 42
    lite = rows["efficientnet_lite0"]
    assert (lite["dim"], lite["size"], lite["parameters"], lite["installed"]) == (1280, 224, 4631000, True)
    texts = rows["minilm_l6"]
    assert (texts["dim"], texts["size"], texts["multiply_adds"], texts["installed"]) == (384, 256, 10_616_832, True)
    net = rows["keras:ResNet50"]
    assert (net["dim"], net["size"], net["cached"]) == (2048, 224, False)
    assert net["install"] == ("" if net["installed"] else "pip install 'fxengine[keras]'")
    assert "tensorflow" not in sys.modules


def test_the_command_prints_a_list_of_objects() -> None:
    rows = json.loads(run_cli("backbones", "--json").stdout)
    assert {
        "name",
        "source",
        "dim",
        "size",
        "parameters",
        "multiply_adds",
        "licence",
        "installed",
        "install",
        "cached",
    } == set(rows[0])
    assert "keras:ResNet50" in run_cli("backbones").stdout
