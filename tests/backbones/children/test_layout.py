from __future__ import annotations

import ast
from pathlib import Path

from fxengine.backbones.children import keras_env, layout


def test_it_imports_nothing_so_that_the_programs_can_load_it() -> None:
    tree = ast.parse(Path(layout.__file__).read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_program_finds_it_beside_itself() -> None:
    assert Path(keras_env.CHILD).parent == Path(layout.__file__).parent
