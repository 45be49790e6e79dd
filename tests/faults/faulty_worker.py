"""A worker with faults: `fxengine.pipeline.unit_worker`, but for what FXENGINE_FAULTS names, which is JSON.

{"before": [units], "after": [units], "hang": [units], "always": [units], "held": [units], "pause": seconds, "marks":
folder}: a worker is killed before it makes the file of a unit, or between that and its answer, or hangs there, each
once; or always. Those that are held wait for a file "go". It pauses before every file. A payload that begins with
POISON kills it while it is decoded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from fxengine.collect.item import Payload
from fxengine.decode.picture.preparer import PicturePreparer
from fxengine.decode.rows import Opened
from fxengine.facts import facts_from, read_json
from fxengine.features.parts import OpenPart
from fxengine.features.schema import Provenance
from fxengine.pipeline.unit_worker import WorkerTask, work
from tests.workers import POISON

FAULTS: dict[str, Any] = json.loads(os.environ["FXENGINE_FAULTS"])
create, opened, init = OpenPart.create, PicturePreparer.open, OpenPart.__init__
units: dict[int, int] = {}


def strikes(kind: str, unit: int) -> bool:
    """Tell whether a fault is due, which one that was is not again."""
    if unit not in FAULTS.get(kind, ()):
        return False
    mark = Path(FAULTS["marks"], f"{kind}-{unit}")
    if mark.exists():
        return False
    mark.touch()
    return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def noted(self: OpenPart, path: Path, schema: Any, read: Any = None) -> None:
    units[id(self)] = Provenance.from_schema(schema, path.name).made_in["unit"]
    init(self, path, schema, read)


def faulty_create(self: OpenPart) -> bool:
    unit = units[id(self)]
    time.sleep(FAULTS.get("pause", 0))
    while unit in FAULTS.get("held", ()) and not Path(FAULTS["marks"], "go").exists():
        time.sleep(0.05)
    if unit in FAULTS.get("always", ()) or strikes("before", unit):
        die()
    if strikes("hang", unit):
        time.sleep(600)
    made = create(self)
    if strikes("after", unit):
        die()
    return made


def faulty_open(self: PicturePreparer, payload: Payload) -> Opened:
    if isinstance(payload, bytes) and payload.startswith(POISON):
        os.kill(os.getpid(), signal.SIGSEGV)
    return opened(self, payload)


if __name__ == "__main__":
    OpenPart.__init__, OpenPart.create = noted, faulty_create  # type: ignore[method-assign]
    PicturePreparer.open = faulty_open  # type: ignore[method-assign,assignment,unused-ignore]
    work(facts_from(WorkerTask, read_json(sys.argv[1]), 1))
    os._exit(0)
