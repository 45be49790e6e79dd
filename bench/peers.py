"""End to end against what a user would pick instead: timm with a torch DataLoader, Keras `predict`, a plain loop.

python -m bench.peers [--net efficientnet_lite0|resnet50|timm:resnet50] [--rounds 7] [--photos 500] [--large]

Every contender makes one pass over the same folder in turn, models loaded beforehand; fxengine also lists, hashes and
writes Parquet. Peers run in the environment that bench/setup-peers makes. --large: 12-megapixel photos. Where the
processor has bf16, timm runs in that as well, channels last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.machine import RESULTS, ROOT, interleave, photos, print_table, save
from fxengine import FeatureStore, extract
from fxengine.backbones import load_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.execute import openvino
from fxengine.pipeline.calibrate import calibrate

BF16 = "timm in bf16, channels last"
PYTHON = Path(os.environ.get("FXENGINE_PEERS_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))


class Peer:
    """A peer's process."""

    def __init__(self, peer: str, net: str, folder: Path) -> None:
        self._name = peer
        command = [str(PYTHON), str(ROOT / "bench" / "peer.py"), peer, net, str(folder)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer("ready")

    def run(self) -> float:
        """Return the rate of one pass over the folder, images/s."""
        return float(self._ask("run"))

    def features(self, file: Path) -> np.ndarray:
        """Return what a pass gives, [n, dim]."""
        self._ask(f"features {file}")
        return np.asarray(np.load(file))

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self, wanted: str = "") -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.strip()
            if text == wanted or (not wanted and text.replace(".", "").isdigit()):
                return text
        raise SystemExit(f"the peer {self._name} ended")


def fxengine(folder: Path, backbone: BackboneFile, precision: str) -> Callable[[], float]:
    """Return a pass of fxengine; its rate is that of the whole pipeline, model loaded."""

    def run() -> float:
        with tempfile.TemporaryDirectory() as store:
            summary = extract(folder, Path(store) / "s", backbone=backbone.path, precision=precision, device="cpu")
            assert summary.extracted == sum(1 for _ in folder.iterdir()), summary
            return summary.images_per_second

    return run


def vectors(folder: Path, backbone: BackboneFile, precision: str) -> np.ndarray:
    """Return fxengine's features in the order of the file names."""
    with tempfile.TemporaryDirectory() as store:
        extract(folder, Path(store) / "s", backbone=backbone.path, precision=precision, device="cpu", dtype="float32")
        return FeatureStore.open(Path(store) / "s").vectors()


def best_workers(kind: str, net: str, folder: Path) -> str:
    """Return the timm peer, "timm" or "timm-bf16", with the worker count that is fastest here."""
    rates = {}
    for workers in (0, 1, 2):
        peer = Peer(f"{kind}:{workers}", net, folder)
        peer.run()
        rates[workers] = peer.run()
        peer.close()
    best = max(rates, key=lambda workers: rates[workers])
    print(f"{kind} with a DataLoader, images/s by workers:", {k: round(v, 1) for k, v in rates.items()})
    return f"{kind}:{best}"


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean cosine of two ways' vectors."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / lengths).mean())


def allowed_by_the_limit(name: str, best_peer: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return 1/(1/D + 1/M), as bench/extract measured it for each precision, over the fastest peer."""
    path = RESULTS / "extract.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else {}
    limits = {precision: runs.get(f"{name} {precision}", {}).get("limit") for precision in ("fp32", "auto")}
    return {f"fxengine {precision}": over(limit, best_peer) for precision, limit in limits.items() if limit}


def over(rates: dict[str, float], others: dict[str, float]) -> dict[str, float]:
    """Return how many times as fast, by the best rounds and by the medians."""
    return {key: round(rates[key] / others[key], 3) for key in ("best", "median")}


def gather(target: Path, count: int, large: bool) -> Path:
    """Link or make the photos of one pass."""
    target.mkdir()
    if not large:
        for path in sorted(photos("imagenet_500").iterdir())[:count]:
            (target / path.name).symlink_to(path)
        return target
    for i, path in enumerate(sorted(photos("flowers_300").rglob("*.jpg"))[:: max(1, 300 // count)][:count]):
        large_photo = Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.LANCZOS)
        large_photo.save(target / f"{i:03d}.jpg", quality=90)
    return target


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--net", default="efficientnet_lite0", choices=["efficientnet_lite0", "resnet50", "timm:resnet50"]
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--large", action="store_true", help="12-megapixel photos made from flowers_300")
    options = parser.parse_args()
    if not PYTHON.exists():
        raise SystemExit(f"there is no {PYTHON}: run bench/setup-peers first (many minutes, 8 GB)")
    real = options.net == "efficientnet_lite0"
    of_torch = options.net == "timm:resnet50"  # exported from the very net that timm runs
    source = options.net if real or of_torch else "keras:ResNet50"
    backbone = load_backbone(source, None if real else ExportOptions(weights="random"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = gather(Path(scratch) / "photos", options.photos, options.large)
        chosen = calibrate(backbone.path, folder, device="cpu")
        timm = best_workers("timm", options.net, folder)
        peers = {timm: timm, "plain ONNX Runtime loop": f"plain:{backbone.path}"}
        if not of_torch:
            peers["Keras predict"] = "keras"
        if openvino.missing("bf16") is None:
            peers[BF16] = best_workers("timm-bf16", options.net, folder)
        running = {name: Peer(peer, options.net, folder) for name, peer in peers.items()}
        contenders: dict[str, Callable[[], float]] = {
            "fxengine fp32": fxengine(folder, backbone, "fp32"),
            "fxengine auto": fxengine(folder, backbone, "auto"),
            **{name: peer.run for name, peer in running.items()},
        }
        rows = interleave(contenders, options.rounds)
        agreement: dict[str, float] = {}
        if real or of_torch:
            ours = vectors(folder, backbone, "fp32")
            for name, peer in running.items():
                agreement[name] = round(cosine(ours, peer.features(Path(scratch) / "f.npy")), 5)
            agreement["fxengine auto"] = round(cosine(ours, vectors(folder, backbone, "auto")), 5)
            # Keras squashes the photos and resizes without antialias: other pixels, so other features.
            # So does the plain loop where the net is not Lite0, whose resize it has.
            others = {"Keras predict"} if real else {"plain ONNX Runtime loop"}
            assert min(value for name, value in agreement.items() if name not in others) > 0.995, agreement
        for peer in running.values():
            peer.close()
    print_table(rows, "images/s end to end")
    best_peer = {key: max(rows[name][key] for name in running if name != BF16) for key in ("best", "median")}
    ratio = {name: over(rows[name], best_peer) for name in ("fxengine fp32", "fxengine auto")}
    bf16 = {"ratio_of_auto_to_bf16_peer": over(rows["fxengine auto"], rows[BF16])} if BF16 in rows else {}
    allowed = {} if options.large else allowed_by_the_limit(backbone.facts.name, best_peer)
    print("of the fastest peer in fp32:", ratio, "the limit allows:", allowed, bf16)
    print("mean cosine to fxengine in fp32:", agreement)
    name = f"peers_{options.net.replace(':', '_')}" + ("_12mp" if options.large else "")
    way = chosen.way
    result: dict[str, Any] = {
        "net": options.net,
        "photos": options.photos,
        "large": options.large,
        "auto": {"runtime": way.runtime, "precision": way.precision, "streams": way.streams},
        "rates": rows,
        "ratio_to_best_peer": ratio,
        "ratio_that_the_limit_allows": allowed,
        **bf16,
        "agreement": agreement,
    }
    print("written to", save(name, result).relative_to(RESULTS.parent))


if __name__ == "__main__":
    main()
