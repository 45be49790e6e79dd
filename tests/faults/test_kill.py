"""kill -9 at random moments: the next run ends with the rows of an uninterrupted one.

python -m tests.faults.test_kill 100     # as many kills as you like, by command
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.features.parts import list_parts
from tests.conftest import make_photo, tiny_model

PART_ROWS = 16
PHOTOS = 300
RUN = (
    "import sys; from fxengine import extract; from pathlib import Path\n"
    "print('ready', flush=True)\n"
    f"extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows={PART_ROWS}, decoders=2)"
)


def start(*arguments: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def table_of(store: Path) -> tuple[list[dict[str, object]], np.ndarray]:
    opened = FeatureStore.open(store)
    return opened.rows().to_pylist(), opened.vectors()


def kill_until(kills: int, folder: Path, model: Path, seed: int) -> int:
    """Kill runs at random moments until `kills` have struck; return how many of them struck a run at work."""
    photos, chance, struck = folder / "photos", random.Random(seed), 0
    for i in range(PHOTOS):
        make_photo(photos / f"{'ab'[i % 2]}/{i:03d}.jpg", i, (48, 40))
    (photos / "a" / "bad.jpg").write_bytes(b"")
    extract(photos, folder / "reference", backbone=model, part_rows=PART_ROWS)
    expected = table_of(folder / "reference")
    begin = time.monotonic()
    extract(photos, folder / "timed", backbone=model, part_rows=PART_ROWS)
    span = max(0.3, time.monotonic() - begin)
    number = 0
    while struck < kills:
        store = folder / f"store{number}"
        number += 1
        for _ in range(6):
            process = start(photos, store, model)
            time.sleep(chance.uniform(0, span * 0.8))
            before = {p: p.stat().st_ino for p in list_parts(store)} if store.exists() else {}
            os.kill(process.pid, signal.SIGKILL)
            if process.wait() == -signal.SIGKILL:
                struck += 1
            committed = {p: p.stat().st_ino for p in list_parts(store)} if store.exists() else {}
            assert before.items() <= committed.items()
            for path in committed:
                assert pq.read_table(path).num_rows == min(PART_ROWS, PHOTOS + 1 - PART_ROWS * int(path.stem[-6:]))
        known = sum(pq.read_metadata(p).num_rows for p in list_parts(store)) if store.exists() else 0
        summary = extract(photos, store, backbone=model, part_rows=PART_ROWS)
        assert summary.unchanged == known  # nothing that was committed is computed again
        rows, vectors = table_of(store)
        assert rows == expected[0]
        np.testing.assert_allclose(vectors, expected[1], atol=2e-3)
        assert [p.name for p in store.iterdir() if "tmp" in p.name or "decoding" in p.name] == []
    return struck


@pytest.mark.slow
def test_thirty_kills_lose_double_and_misalign_nothing(tmp_path: Path, tiny: BackboneFile) -> None:
    assert kill_until(30, tmp_path, tiny.path, seed=1) >= 30


@pytest.mark.long
def test_three_hundred_kills_lose_double_and_misalign_nothing(tmp_path: Path, tiny: BackboneFile) -> None:
    assert kill_until(300, tmp_path, tiny.path, seed=3) >= 300


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "tiny.onnx"
        model.write_bytes(tiny_model().SerializeToString())
        count = kill_until(int(sys.argv[1]) if len(sys.argv) > 1 else 100, Path(temporary), model, seed=2)
        sys.stdout.write(f"{count} kills: every store ended with the rows of an uninterrupted run\n")
