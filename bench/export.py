"""Export every Keras Application with random weights and compare it with Keras itself.

python -m bench.export [--names ResNet50 ...] [--full] [--missing] [--seconds 600]
python -m bench.export --tables      # write what was measured into docs/backbones.md and the package's table of facts

By default each net gets a small input whose strides round as at its default size (the same remainder by 32), so that
the graph is the same; --full takes the default. Results are added to bench/results/export.json after each net, so a
stopped run loses nothing, and --missing goes on from there.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.machine import RESULTS, ROOT, save
from fxengine.backbones.children import keras_env
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import measure
from fxengine.backbones.sources.from_keras import assemble, order
from fxengine.backbones.sources.keras_applications import APPLICATIONS, FACTS
from fxengine.backbones.spec import METADATA_KEY, Facts
from fxengine.errors import InputError

_PATH, _DOCS = RESULTS / "export.json", ROOT / "docs" / "backbones.md"
_BEGIN, _END = "<!-- exports: made by bench/export.py -->", "<!-- end of exports -->"


def small(name: str) -> int:
    """Return an input size that is quick, and not so small that the last map is one pixel."""
    known = APPLICATIONS[name]
    return (64 if known.smallest <= 64 else 96) + known.size % 32


def measured(name: str, size: int) -> dict[str, Any]:
    """Export one net and return its row of the table."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fxengine-bench-") as folder:
        work = Path(folder) / "net"
        try:
            an_order = order(name, ExportOptions(weights="random", size=(size, size)))
            keras_env.run([{**an_order.job, "folder": str(work)}], Path(folder))
            model = assemble(an_order, work)
        except InputError as error:
            return {"size": size, "seconds": round(time.perf_counter() - begin, 1), "error": str(error)[:600]}
        with np.load(work / "reference.npz") as arrays:
            features = arrays["features"].astype(np.float64)
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    report = facts.notes["export"]
    apart = np.linalg.norm(features - features.mean(0), axis=1).mean() / np.linalg.norm(features, axis=1).mean()
    return {
        "size": size,
        "seconds": round(time.perf_counter() - begin, 1),
        "dim": facts.dim,
        "parameters": facts.parameters,
        "multiply_adds": facts.multiply_adds,
        "multiply_adds_at_default_size": multiply_adds(model, APPLICATIONS[name].size),
        "megabytes": round(report["bytes"] / 1e6, 1),
        "nodes": sum(report["nodes"].values()),
        "opset": report["opset"],
        "recipe": report["recipe"],
        "photos_differ_by": round(float(apart), 4),
        **report["differences"],
    }


def multiply_adds(model: onnx.ModelProto, size: int) -> int | None:
    """Return the multiply-adds of the same graph at another input size, by shape inference.

    None where the graph holds the shapes of its own size (ConvNeXt), so that it has to be exported at the other one.
    """
    height, width = model.graph.input[0].type.tensor_type.shape.dim[1:3]
    height.dim_value = width.dim_value = size
    return measure(model).multiply_adds


def by_area(multiply_adds: int | None, small: int, size: int) -> int | str:
    """Return the multiply-adds at `size` of a net of convolutions alone, whose strides divide both sizes; else ""."""
    return "" if multiply_adds is None or small % 32 or size % 32 else round(multiply_adds * (size / small) ** 2)


def rows(names: list[str], full: bool, seconds: float, done: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (net@size, row) until the time is up."""
    begin = time.perf_counter()
    for name in names:
        size = APPLICATIONS[name].size if full else small(name)
        if f"{name}@{size}" in done:
            continue
        if time.perf_counter() - begin > seconds:
            print(f"the {seconds:.0f} s are up; not run: {', '.join(names[names.index(name) :])}")
            return
        yield f"{name}@{size}", measured(name, size)


def write_tables(result: dict[str, Any]) -> None:
    """Write the table of docs/backbones.md, and parameters and multiply-adds into the package's table of facts."""
    lines = ["| net@size | relative | 1 - cosine | photos differ by | seconds |", "|---|--:|--:|--:|--:|"]
    for name, row in sorted(result["nets"].items()):
        cells = [row["error"]] if "error" in row else [
            f"{row['relative']:.1e}", f"{1 - row['cosine']:.0e}", f"{row['photos_differ_by']:.2f}"]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} | {row['seconds']:.0f} |")
    head, _, rest = _DOCS.read_text().partition(_BEGIN)
    _DOCS.write_text("\n".join([f"{head}{_BEGIN}", *lines, _END]) + rest.partition(_END)[2])
    with FACTS.open(newline="") as file:
        table = list(csv.DictReader(file))
    for facts in table:
        row, full = (
            result["nets"].get(f"{facts['name']}@{size}", {}) for size in (small(facts["name"]), facts["size"])
        )
        if "parameters" in row:
            facts["parameters"] = row["parameters"]
            facts["multiply_adds"] = (
                row["multiply_adds_at_default_size"]
                or full.get("multiply_adds")
                or by_area(row["multiply_adds"], row["size"], int(facts["size"]))
            )
    with FACTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(APPLICATIONS), choices=list(APPLICATIONS), metavar="NAME")
    parser.add_argument("--full", action="store_true", help="each net's default input size")
    parser.add_argument("--missing", action="store_true", help="only what the results lack")
    parser.add_argument("--seconds", type=float, default=600, help="start no further net after this time")
    parser.add_argument("--tables", action="store_true", help="measure nothing, write the tables")
    arguments = parser.parse_args()
    result = json.loads(_PATH.read_text()) if _PATH.exists() else {"nets": {}}
    if arguments.tables:
        write_tables(result)
        return
    nets = result["nets"]
    done = set(nets) if arguments.missing else set()
    for name, row in rows(arguments.names, arguments.full, arguments.seconds, done):
        nets[name] = row
        save("export", {"weights": "random", "versions": keras_env.versions(), "nets": nets})
        words = row.get("error") or f"relative {row['relative']:.2e}  cosine {row['cosine']:.9f}  dim {row['dim']}"
        print(f"{name:<22} {row['seconds']:6.1f} s  {words}", flush=True)


if __name__ == "__main__":
    main()
