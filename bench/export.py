"""Export every Keras Application with random weights and compare it with Keras itself.

python -m bench.export [--names ResNet50 ...] [--full] [--seconds 600]

By default each net gets its smallest useful input, since the graph is the same at any size; --full takes its own.
Results are added to bench/results/export.json after each net, so a stopped run loses nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from bench.machine import RESULTS, save
from fxengine.backbones.keras_process import versions
from fxengine.backbones.keras_source import APPLICATIONS, export
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import METADATA_KEY, Facts
from fxengine.errors import InputError

# Below this the last map is one pixel and batch statistics say nothing.
_SMALL = 64


def measured(name: str, size: int) -> dict[str, Any]:
    """Export one net and return its row of the table."""
    begin = time.perf_counter()
    try:
        model = export(name, ExportOptions(weights="random", size=(size, size)))
    except InputError as error:
        return {"size": size, "seconds": round(time.perf_counter() - begin, 1), "error": str(error)[:600]}
    facts = Facts.from_json({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    report = facts.notes["export"]
    return {
        "size": size,
        "seconds": round(time.perf_counter() - begin, 1),
        "dim": facts.dim,
        "parameters": facts.parameters,
        "multiply_adds": facts.multiply_adds,
        "megabytes": round(report["bytes"] / 1e6, 1),
        "nodes": sum(report["nodes"].values()),
        "opset": report["opset"],
        "recipe": report["recipe"],
        **report["differences"],
    }


def rows(names: list[str], full: bool, seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, row) until the time is up."""
    begin = time.perf_counter()
    for name in names:
        if time.perf_counter() - begin > seconds:
            print(f"the {seconds:.0f} s are up; not run: {', '.join(names[names.index(name) :])}")
            return
        known = APPLICATIONS[name]
        yield name, measured(name, known.size if full else (_SMALL if known.smallest <= _SMALL else 2 * _SMALL))


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", nargs="+", default=list(APPLICATIONS), choices=list(APPLICATIONS), metavar="NAME")
    parser.add_argument("--full", action="store_true", help="each net's own input size")
    parser.add_argument("--seconds", type=float, default=600, help="start no further net after this time")
    arguments = parser.parse_args()
    path = RESULTS / "export.json"
    table = json.loads(path.read_text())["nets"] if path.exists() else {}
    for name, row in rows(arguments.names, arguments.full, arguments.seconds):
        table[f"{name}@{row['size']}"] = row
        save("export", {"weights": "random", "versions": versions(), "nets": table})
        words = row.get("error") or f"relative {row['relative']:.2e}  cosine {row['cosine']:.9f}  dim {row['dim']}"
        print(f"{name:<18} {row['size']:>4} {row['seconds']:6.1f} s  {words}", flush=True)


if __name__ == "__main__":
    main()
