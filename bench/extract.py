"""End to end against its limit 1/(1/D + 1/M): decode alone and model alone, each keeping all cores busy.

python -m bench.extract [--rounds 15] [--backbone NAME]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench.machine import interleave, photos, print_table, save
from fxengine import decode, extract
from fxengine.backbones import load_backbone
from fxengine.backbones.spec import FEATURE_OUTPUT
from fxengine.decode import Limits
from fxengine.execute import open_session, usable_cores
from fxengine.execute.session import CPU_BATCH, Session

CORES = usable_cores()


def on_all_cores(count: int, work: object) -> float:
    """Call work(i) for i in range(count) from a thread a core; return calls a second."""
    numbers, lock = iter(range(count)), threading.Lock()

    def loop() -> None:
        while True:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            work(i)  # type: ignore[operator]

    threads = [threading.Thread(target=loop) for _ in range(CORES)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - begin)


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options = parser.parse_args()
    backbone = load_backbone(options.backbone)
    recipe = backbone.recipe
    folder = photos("imagenet_500")
    blobs = [path.read_bytes() for path in sorted(folder.iterdir())]
    batch = np.empty((CPU_BATCH, recipe.height, recipe.width, 3), np.uint8)
    for i in range(CPU_BATCH):
        decode.decode_into(blobs[i], decode.read_header(blobs[i], Limits()), recipe, batch[i])
    session = open_session(backbone.path, "cpu", CPU_BATCH, streams=CORES)
    local = threading.local()

    def decode_one(i: int) -> None:
        if not hasattr(local, "out"):
            local.out = np.empty((recipe.height, recipe.width, 3), np.uint8)
        decode.decode_into(blobs[i], decode.read_header(blobs[i], Limits()), recipe, local.out)

    rows_run, run = [0], Session.run

    def counted(self: Session, images: np.ndarray, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        rows_run[0] += len(images)
        return run(self, images, outputs)

    def whole() -> float:
        with tempfile.TemporaryDirectory() as store:
            rows_run[0] = 0
            Session.run = counted  # type: ignore[method-assign, assignment]
            try:
                summary = extract(folder, Path(store) / "s", backbone=options.backbone, device="cpu")
            finally:
                Session.run = run  # type: ignore[method-assign]
            assert summary.extracted == rows_run[0] == len(blobs)
            return summary.images_per_second

    contenders = {
        "decode alone (D)": lambda: on_all_cores(len(blobs), decode_one),
        "model alone (M)": lambda: on_all_cores(64, lambda _: run(session, batch, (FEATURE_OUTPUT,))) * CPU_BATCH,
        "end to end": whole,
    }
    rows = interleave(contenders, options.rounds)
    limit, ratio = {}, {}
    for key in ("best", "median"):
        d, m = rows["decode alone (D)"][key], rows["model alone (M)"][key]
        limit[key] = round(1 / (1 / d + 1 / m), 2)
        ratio[key] = round(rows["end to end"][key] / limit[key], 3)
    print_table(rows, f"images/s, {CORES} cores")
    print(f"limit 1/(1/D + 1/M): best {limit['best']:.1f}, median {limit['median']:.1f}")
    print(f"end to end / limit: best {ratio['best']:.3f}, median {ratio['median']:.3f}")
    save("extract", {"backbone": options.backbone, "rates": rows, "limit": limit, "share_of_limit": ratio})


if __name__ == "__main__":
    main()
