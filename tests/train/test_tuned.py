from __future__ import annotations

import json
from pathlib import Path

from fxengine.pipeline.summary import Progress
from fxengine.train.tuned import _follow


def test_the_time_left_is_of_steps_alone(tmp_path: Path) -> None:
    told, path = list[Progress](), tmp_path / "progress.jsonl"
    path.write_text(json.dumps({"steps": 9, "of": 9, "at": 0.0}))  # of an earlier process
    watch = _follow(path, told.append)
    watch()
    lines = [{"steps": 301, "of": 900, "at": 1000.0}, {"epoch": 1, "validation_loss": 0.5},
             {"steps": 321, "of": 900, "at": 1010.0}]  # fmt: skip
    path.write_text(json.dumps(lines[0]) + "\n")
    watch()
    assert told == []  # the first step is over, and how long others take is not known
    path.write_text("\n".join([*map(json.dumps, lines), '{"steps": 3']))
    watch()
    watch()
    (found,) = told
    assert found == Progress(done=20, failed=0, total=599, seconds=10.0)
    assert (found.total - found.done) / (found.done / found.seconds) == 289.5  # 579 steps, of which two take a second
