"""Fine-tune on real photos and on a planted task; compare with a plain Keras script on the same data.

python -m bench.finetune [--sets flowers_300 caltech_20 planted plain] [--parts block13 all]
                           [--epochs 8] [--rate 1e-4] [--seeds 1] [--photos 600]

EfficientNet-Lite0 at its own 224 pixels. Each result is kept in bench/results/finetune.json as it is made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.machine import RESULTS, photos, save
from fxengine.backbones.children import keras_env
from fxengine.backbones.options import ExportOptions
from fxengine.features.read import FeatureStore
from fxengine.pipeline.extract import extract
from fxengine.train.data import load_training_data, write_training_data
from fxengine.train.finetune import finetune
from fxengine.train.options import FinetuneOptions
from fxengine.train.trainable import load_trainable_of_pictures

_PATH = RESULTS / "finetune.json"
_PLAIN = Path(__file__).with_name("plain_keras.py")
_MARK = 24  # pixels of 256


def planted(folder: Path, count: int) -> Path:
    """Return a folder of photos, every second one with a checkered mark of 24 pixels at a random place.

    Every photo is 256 pixels already, so that no resize wipes the mark out.
    """
    rng = np.random.default_rng(5)
    checkers = 70 * (2 * (np.indices((_MARK, _MARK)).sum(0) // 4 % 2) - 1)
    for i, path in enumerate(sorted(photos("caltech_20").rglob("*.jpg"))[:count]):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((256, 256)), np.int16).copy()
        marked = i % 2 == 1
        if marked:
            y, x = rng.integers(24, 256 - 24 - _MARK, 2)
            pixels[y : y + _MARK, x : x + _MARK] += checkers[:, :, None].astype(np.int16)
        target = folder / ("marked" if marked else "plain") / f"{i:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target)
    return folder


def tuned(source: Path, options: FinetuneOptions) -> dict[str, Any]:
    """Fine-tune once; return scores with intervals, and what it took."""
    with tempfile.TemporaryDirectory(prefix="fxengine-bench-") as folder:
        report = finetune(source, Path(folder) / "net.onnx", **asdict(options))
    return {
        "rows": report.rows,
        "probe": asdict(report.probe),
        "tuned": asdict(report.tuned),
        "kept": report.kept,
        "rate": report.rate,
        "best_epoch": report.best_epoch,
        "history": list(report.history),
        "difference_to_keras": report.differences["relative"],
        "seconds": report.seconds,
    }


def plain(source: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Run the plain Keras script on the pictures, splits and weights that `tuned` uses."""
    with tempfile.TemporaryDirectory(prefix="fxengine-bench-") as name:
        folder, options = Path(name), FinetuneOptions(seed=seed)
        begin = time.perf_counter()
        net = load_trainable_of_pictures("efficientnet_lite0", ExportOptions(), folder)
        extract(source, folder / "features", backbone="efficientnet_lite0", dtype="float32")
        data = load_training_data(FeatureStore.open(folder / "features"), None, options)
        write_training_data(data, net.preparation.recipe, options, folder)
        prepared = time.perf_counter() - begin
        (folder / "plain.json").write_text(json.dumps({"stages": net.job["stages"], "epochs": epochs, "seed": seed}))
        command = [keras_env.python(), str(_PLAIN), str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        found = json.loads((folder / "result.json").read_text())
    return {**found, "seconds_of_features_and_probe": round(prepared, 1)}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["flowers_300", "caltech_20", "planted", "plain"])
    parser.add_argument("--parts", nargs="+", default=["block13", "all"], help="what is unfrozen")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rate", type=float, help="else 1e-5, 1e-4 and 1e-3 are tried for one epoch each")
    parser.add_argument("--photos", type=int, default=600, help="of the planted task")
    arguments = parser.parse_args()
    result = json.loads(_PATH.read_text()) if _PATH.exists() else {"runs": {}}
    runs = result["runs"]

    def keep(name: str, row: dict[str, Any]) -> None:
        runs[name] = row
        save("finetune", {"backbone": "efficientnet_lite0", "versions": keras_env.versions(), "runs": runs})
        print(name, json.dumps({key: row[key] for key in row if key != "history"}), flush=True)

    for seed in range(arguments.seeds):
        options = FinetuneOptions(epochs=arguments.epochs, rate=arguments.rate, seed=seed)
        for name in arguments.sets:
            if name == "plain":
                keep(f"plain Keras, flowers_300, seed {seed}", plain(photos("flowers_300"), arguments.epochs, seed))
            elif name == "planted":
                with tempfile.TemporaryDirectory() as folder:
                    source = planted(Path(folder) / "planted", arguments.photos)
                    row = tuned(source, replace(options, augment="flip"))
                keep(f"planted, all, seed {seed}", row)
            else:
                for part in arguments.parts:
                    row = tuned(photos(name), replace(options, unfreeze=part))
                    keep(f"{name}, {part}, seed {seed}", row)


if __name__ == "__main__":
    main()
