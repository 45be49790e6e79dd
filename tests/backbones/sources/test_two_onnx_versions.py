"""An upgrade of onnx must not orphan a store: the lowest release that pyproject.toml allows gives the same space."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.sources.efficientnet_lite import RECIPE, build
from tests.conftest import ROOT

EXPORT = """
import json, onnx
from fxengine.backbones.sources.efficientnet_lite import RECIPE, build
from fxengine.backbones.fingerprint import fingerprint
print(json.dumps([onnx.__version__, fingerprint(build(), RECIPE)]))
"""


@pytest.mark.slow
def test_the_embedded_backbone_has_one_fingerprint(tmp_path: Path) -> None:
    lowest = re.search(r'"onnx>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest is not None
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*install, "--disable-pip-version-check", f"onnx=={lowest[1]}.*"], check=True, timeout=300)
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{EXPORT}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    version, old = json.loads(done.stdout)
    assert version.startswith(lowest[1])
    assert version != onnx.__version__
    assert old == fingerprint(build(), RECIPE)
