from __future__ import annotations

import ast
from pathlib import Path

from fxengine.train import layout


def test_it_imports_nothing_so_that_the_training_process_can_load_it() -> None:
    tree = ast.parse(Path(layout.__file__).read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
