"""The lowest pyarrow that pyproject.toml allows reads what the newest writes, and the other way round."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.features import parts
from fxengine.features.parts import list_parts
from tests.conftest import ROOT

# Runs fxengine's own reading and writing of parts, under the old pyarrow.
ROUND_TRIP = """
import json, sys
from pathlib import Path
import pyarrow
from fxengine.features import parts
from fxengine.features.schema import FEATURE
source, target = Path(sys.argv[1]), Path(sys.argv[2])
table = parts.read_part(source)
values = [parts.vector_matrix(c, 8).astype("float64").tolist() for c in table[FEATURE].chunks]
parts.write_part(table.combine_chunks(), target)
print(json.dumps([pyarrow.__version__, sum(values, [])]))
"""


@pytest.mark.slow
def test_round_trip_under_the_lowest_pyarrow(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    lowest = re.search(r'"pyarrow>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest is not None
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract(photos, tmp_path / "s", backbone=tiny.path)
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(site),
        f"pyarrow=={lowest[1]}.*",
    ]
    subprocess.run([*install, "--disable-pip-version-check"], check=True, timeout=300)
    target = tmp_path / "old" / "part-000000.parquet"
    target.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {ROUND_TRIP}".replace("; \n", "\n"),
         str(list_parts(tmp_path / "s")[0]), str(target)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used, values = json.loads(done.stdout)
    assert used.split(".")[0] == lowest[1].split(".")[0]
    opened = FeatureStore.open(tmp_path / "s")
    table = parts.read_part(list_parts(tmp_path / "s")[0])
    fine = [i for i, code in enumerate(table["error_code"].to_pylist()) if code is None]
    np.testing.assert_array_equal(np.array(values)[fine], opened.vectors().astype(np.float64))
    np.testing.assert_array_equal(FeatureStore.open(target.parent).vectors(), opened.vectors())
    assert FeatureStore.open(target.parent).rows().equals(opened.rows())
