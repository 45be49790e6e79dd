"""Who may import whom, and what `import fxengine` may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "fxengine"
EVERYWHERE = {"errors", "cache", "float16", "memory", "backbones.spec", "features.schema", ""}
EXTRACT = {"backbones", "collect", "decode", "execute", "features"}
MAY_IMPORT = {
    "extraction": EXTRACT | {"extraction_pipeline", "extraction_precision", "extraction_summary"},
    "extraction_precision": EXTRACT | {"extraction_pipeline"},
    "extraction_pipeline": EXTRACT | {"extraction_queues"},
}
HEAVY = {
    "faiss",
    "keras",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "PIL",
    "sklearn",
    "tensorflow",
    "simplejpeg",
    "rich",
    "torch",
    "openvino",
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fxengine":
            base = node.module.removeprefix("fxengine").removeprefix(".")
            found |= {f"{base}.{alias.name}".strip(".") if (PACKAGE / base.replace(".", "/")).is_dir() else base
                      for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("fxengine").removeprefix(".") for alias in node.names
                      if alias.name.split(".")[0] == "fxengine"}  # fmt: skip
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_steps_do_not_import_each_other(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own in {"ui", "tasks", "__init__", "__main__"}:
        return
    for name in imports_of(path):
        if name in EVERYWHERE or any(name.startswith(f"{noun}.") for noun in EVERYWHERE - {""}):
            continue
        allowed = {own} | MAY_IMPORT.get(own, set())
        assert name.split(".")[0] in allowed, f"{own} imports fxengine.{name}"


def test_only_the_pipeline_starts_threads() -> None:
    starters = [path.name for path in MODULES if "threading.Thread(" in path.read_text()]
    assert starters == ["threads.py"]


def loaded_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import fxengine")


def test_help_loads_only_the_command_line() -> None:
    code = "from fxengine.ui.cli import build_parser; build_parser().format_help()"
    assert not (HEAVY | {"numpy", "pyarrow"}) & loaded_after(code)
