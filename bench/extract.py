"""End to end against its limit 1/(1/D + 1/M): decode alone and model alone, each keeping all cores busy.

python -m bench.extract [--rounds 15] [--backbone NAME] [--precision fp32|auto] [--photos 500]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench.machine import RESULTS, interleave, photos, print_table, save
from fxengine import extract
from fxengine.backbones import load_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import FEATURE_OUTPUT, INPUT_NAME
from fxengine.collect import collect
from fxengine.decode import Inputs, picture
from fxengine.decode.limits import Limits
from fxengine.execute import usable_cores
from fxengine.execute.session import Session
from fxengine.pipeline.calibrate import calibrate
from fxengine.pipeline.precision import Wish, open_chosen
from fxengine.pipeline.rate import rows_in

CORES = usable_cores()


def on_all_cores(count: int, work: object, threads_at_once: int) -> float:
    """Call work(i) for i in range(count) from so many threads; return calls a second."""
    numbers, lock = iter(range(count)), threading.Lock()

    def loop() -> None:
        while True:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            work(i)  # type: ignore[operator]

    threads = [threading.Thread(target=loop) for _ in range(threads_at_once)]
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
    parser.add_argument("--backbone", default="efficientnet_lite0", help="with keras:NAME the weights are random")
    parser.add_argument("--precision", default="fp32", help="auto takes what `fxengine calibrate` found here")
    parser.add_argument("--photos", type=int, default=500)
    options = parser.parse_args()
    random = options.backbone.startswith("keras:")
    backbone = load_backbone(options.backbone, ExportOptions(weights="random") if random else None)
    recipe, folder = backbone.picture_recipe, photos("imagenet_500")
    if options.precision == "auto":
        calibrate(backbone.path, folder, device="cpu")
    blobs = [path.read_bytes() for path in sorted(folder.iterdir())[: options.photos]]
    session, choice = open_chosen(backbone, collect(folder), len(blobs), Wish(options.precision, "cpu"))
    batch = np.empty((session.batch_size, recipe.height, recipe.width, 3), np.uint8)
    for i in range(len(batch)):
        picture.decode_into(blobs[i], picture.read_header(blobs[i], Limits()), recipe, batch[i])
    local = threading.local()

    def decode_one(i: int) -> None:
        if not hasattr(local, "out"):
            local.out = np.empty((recipe.height, recipe.width, 3), np.uint8)
        picture.decode_into(blobs[i], picture.read_header(blobs[i], Limits()), recipe, local.out)

    rows_run, run = [0], Session.run

    def counted(self: Session, inputs: Inputs, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        rows_run[0] += rows_in(inputs)
        return run(self, inputs, outputs)

    def whole() -> float:
        with tempfile.TemporaryDirectory() as store:
            rows_run[0] = 0
            Session.run = counted  # type: ignore[method-assign, assignment]
            try:
                summary = extract(
                    folder,
                    Path(store) / "s",
                    backbone=backbone.path,
                    device="cpu",
                    precision=options.precision,
                    limit=options.photos,
                )
            finally:
                Session.run = run  # type: ignore[method-assign]
            assert summary.extracted == rows_run[0] == len(blobs)
            return summary.images_per_second

    def model_alone() -> float:
        runs = max(4, len(blobs) // 2 // len(batch) // session.streams) * session.streams  # no stream idles at the end
        rate = on_all_cores(runs, lambda _: run(session, {INPUT_NAME: batch}, (FEATURE_OUTPUT,)), session.streams)
        return rate * len(batch)

    contenders = {
        "decode alone (D)": lambda: on_all_cores(len(blobs), decode_one, CORES),
        "model alone (M)": model_alone,
        "end to end": whole,
    }
    rows = interleave(contenders, options.rounds)
    limit, ratio = {}, {}
    for key in ("best", "median"):
        d, m = rows["decode alone (D)"][key], rows["model alone (M)"][key]
        limit[key] = round(1 / (1 / d + 1 / m), 2)
        ratio[key] = round(rows["end to end"][key] / limit[key], 3)
    print_table(rows, f"images/s, {CORES} cores, {choice.way}")
    print(f"limit 1/(1/D + 1/M): best {limit['best']:.1f}, median {limit['median']:.1f}")
    print(f"end to end / limit: best {ratio['best']:.3f}, median {ratio['median']:.3f}")
    result = {
        "backbone": options.backbone,
        "precision": options.precision,
        "way": vars(choice.way),
        "rates": rows,
        "limit": limit,
        "share_of_limit": ratio,
    }
    path = RESULTS / "extract.json"
    known = json.loads(path.read_text()).get("runs", {}) if path.exists() else {}
    save("extract", {"runs": {**known, f"{backbone.facts.name} {options.precision}": result}})


if __name__ == "__main__":
    main()
