from __future__ import annotations

import subprocess
import sys

from fxengine.backbones.spec import BackboneFile
from tests.conftest import PATIENCE, ROOT

# Without the first call in `_Model`, 10 of 12 such processes never ended.
TOGETHER = """
import sys, threading
from pathlib import Path
from fxengine.execute import open_session
session = open_session(Path(sys.argv[1]), "cpu", 4, 2, precision="fp32", runtime="openvino")
import openvino
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def first():
    together.wait()
    openvino.Type.u8.to_dtype()
threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_use_it_first_do_not_wait_for_each_other(tiny: BackboneFile) -> None:
    for _ in range(3):
        subprocess.run([sys.executable, "-c", TOGETHER, str(tiny.path)], cwd=ROOT, check=True, timeout=PATIENCE)
