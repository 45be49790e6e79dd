"""A worker's process."""

from __future__ import annotations

import subprocess
import sys

_ARRAY = """
import sys
from fxengine.pipeline.unit_worker import WithoutPandas
if sys.argv[1] == "worker":
    sys.meta_path.insert(0, WithoutPandas)
import pyarrow as pa
made = pa.array(["a", None])
print("pandas" in sys.modules, made.to_pylist())
"""


def test_a_worker_makes_arrays_without_loading_pandas() -> None:
    def printed(who: str) -> str:
        command = [sys.executable, "-c", _ARRAY, who]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert printed("worker") == "False ['a', None]\n"
    assert printed("any process") == "True ['a', None]\n"  # or else there is nothing to keep it from any more
