"""Export nets of timm and torchvision with random weights, a few of each family, and compare them with PyTorch itself.

python -m bench.export_torch [--names timm:resnet50 ...] [--missing]
python -m bench.export_torch --tables      # write what was measured into docs/backbones.md

FXENGINE_TORCH_PYTHON names the python that has them; bench/setup-peers makes one. The weights are random with
statistics like trained ones (torch_weights.py), the pictures of the default size. Results are added to
bench/results/export_torch.json after each net, so a stopped run loses nothing, and --missing goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from bench.machine import RESULTS, ROOT, save
from fxengine.backbones import load_source
from fxengine.backbones.children import torch_env
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.run import run_model
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources.feature_check import sample_pictures
from fxengine.backbones.spec import FEATURE_OUTPUT, METADATA_KEY, Facts
from fxengine.errors import InputError

_PATH, _DOCS = RESULTS / "export_torch.json", ROOT / "docs" / "backbones.md"
_BEGIN, _END = "<!-- torch exports: made by bench/export_torch.py -->", "<!-- end of torch exports -->"
_NAMES = (
    "timm:resnet50",
    "timm:resnetv2_50",
    "timm:convnext_tiny",
    "timm:efficientnet_b0",
    "timm:tf_efficientnet_b0",
    "timm:mobilenetv3_large_100",
    "timm:mobilenetv4_conv_small",
    "timm:vit_small_patch16_224",
    "timm:deit_small_distilled_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:vit_small_patch14_dinov2",
    "timm:eva02_tiny_patch14_224",
    "timm:fastvit_t8",
    "timm:maxvit_tiny_tf_224",
    "timm:regnety_008",
    "timm:densenet121",
    "torchvision:resnet50",
    "torchvision:efficientnet_b0",
    "torchvision:convnext_tiny",
    "torchvision:vit_b_16",
    "torchvision:swin_t",
    "torchvision:mobilenet_v3_large",
    "torchvision:regnet_y_400mf",
    "torchvision:squeezenet1_1",
    "torchvision:inception_v3",
)


def measured(name: str) -> dict[str, Any]:
    """Export one net, its classifier kept, and return its row of the table."""
    kind, _, what = name.partition(":")
    begin = time.perf_counter()
    try:
        model = load_source(kind).export(what, ExportOptions(weights="random", logits=True))
    except InputError as error:
        return {"seconds": round(time.perf_counter() - begin, 1), "error": str(error)[:600]}
    seconds = time.perf_counter() - begin
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    report, recipe = facts.notes["export"], facts.picture_recipe
    features = run_model(with_safe_pads(model), sample_pictures(recipe.height, recipe.width))[FEATURE_OUTPUT]
    apart = np.linalg.norm(features - features.mean(0), axis=1).mean() / np.linalg.norm(features, axis=1).mean()
    return {
        "size": [recipe.height, recipe.width],
        "seconds": round(seconds, 1),
        "dim": facts.dim,
        "parameters": facts.parameters,
        "megabytes": round(report["bytes"] / 1e6, 1),
        "peak_megabytes": facts.notes["peak_megabytes"],
        "nodes": sum(report["nodes"].values()),
        "opset": report["opset"],
        "recipe": report["recipe"],
        "pictures_differ_by": round(float(apart), 4),
        **report["differences"],
    }


def write_table(nets: dict[str, dict[str, Any]]) -> None:
    """Write the table of docs/backbones.md."""
    lines = ["| net | relative | in other batches | pictures differ by | MB | seconds |", "|---|--:|--:|--:|--:|--:|"]
    for name, row in sorted(nets.items()):
        cells = [row["error"], "", "", ""] if "error" in row else [
            f"{row['relative_all_outputs']:.1e}", f"{row['relative_in_other_batches']:.0e}",
            f"{row['pictures_differ_by']:.2f}", f"{row['megabytes']:.0f}"]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} | {row['seconds']:.0f} |")
    head, _, rest = _DOCS.read_text().partition(_BEGIN)
    _DOCS.write_text("\n".join([f"{head}{_BEGIN}", *lines, _END]) + rest.partition(_END)[2])


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(_NAMES), metavar="KIND:NAME")
    parser.add_argument("--missing", action="store_true", help="only what the results lack")
    parser.add_argument("--tables", action="store_true", help="measure nothing, write the table")
    arguments = parser.parse_args()
    nets = json.loads(_PATH.read_text())["nets"] if _PATH.exists() else {}
    if arguments.tables:
        write_table(nets)
        return
    for name in arguments.names:
        if arguments.missing and name in nets:
            continue
        nets[name] = measured(name)
        versions = {**torch_env.versions("timm"), **torch_env.versions("torchvision")}
        save("export_torch", {"weights": "random", "versions": versions, "nets": nets})
        row = nets[name]
        words = row.get("error") or f"relative {row['relative_all_outputs']:.2e}  dim {row['dim']}  {row['recipe']}"
        print(f"{name:<42} {row['seconds']:6.1f} s  {words}", flush=True)


if __name__ == "__main__":
    main()
