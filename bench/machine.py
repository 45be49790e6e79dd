"""What a benchmark ran on, and how figures are taken on a machine whose speed drifts."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fxengine.execute.cpus import usable_cores
from fxengine.heads.evaluate.interval import Interval

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
DATA = Path(os.environ.get("FXENGINE_TEST_DATA", ROOT.parent / "shared" / "data"))
DIRTY = "+changes"  # behind the commit of a result that was measured with changes that it does not hold
_CODE = ("--", ".", ":!bench/results", ":!docs", ":!README.md")  # what a benchmark before this one wrote is no change
_LIBRARIES = (
    "numpy",
    "pyarrow",
    "onnxruntime-gpu",
    "pillow",
    "simplejpeg",
    "cykooz-resizer",
    "scikit-learn",
    "faiss-cpu",
)


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, system, commit and library versions."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        lines = {key.strip(): value.strip() for key, value in lines.items()}
        flags = [f for f in lines.get("flags", "").split() if f.startswith(("avx2", "avx512_", "amx"))]
        cpu = f"{lines.get('model name', cpu)} ({' '.join(flags)})"
    return {
        "cpu": cpu,
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short", "HEAD") + (DIRTY if _git("status", "--porcelain", *_CODE) else ""),
        "libraries": {name: version(name) for name in _LIBRARIES if _installed(name)},
    }


def wilson(correct: float, total: int, z: float = 1.959964) -> Interval:
    """Return the share of correct answers with Wilson's 95% score interval (Wilson 1927, JASA 22)."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = z / (1 + z * z / total) * math.sqrt(max(0.0, share * (1 - share) / total + z * z / (4 * total * total)))
    return Interval(share, max(0.0, centre - spread), min(1.0, centre + spread))


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, dict[str, float]]:
    """Run A B C, A B C, ... after one uncounted round; each call returns its rate.

    Returns:
        name -> best, median and their ratio, of all counted rounds.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            rate = run()
            if number:
                rates[name].append(rate)
    return {name: summarise(values) for name, values in rates.items()}


def summarise(values: list[float]) -> dict[str, float]:
    """Return best, median and spread (best over median) of rates."""
    best, median = max(values), statistics.median(values)
    return {
        "best": round(best, 2),
        "median": round(median, 2),
        "spread": round(best / median, 3),
        "rounds": len(values),
    }


def save(name: str, result: Mapping[str, Any]) -> Path:
    """Write bench/results/NAME.json with the machine."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    return path


def print_table(rows: Mapping[str, Mapping[str, float]], unit: str) -> None:
    """Print best and median of each contender."""
    width = max(map(len, rows))
    print(f"{unit:<{width}}  {'best':>9} {'median':>9} {'best/median':>12}")
    for name, row in rows.items():
        print(f"{name:<{width}}  {row['best']:9.1f} {row['median']:9.1f} {row['spread']:12.2f}")


def photos(name: str) -> Path:
    """Return a folder of real photos; exits where it is absent."""
    folder = DATA / name
    if not folder.is_dir():
        raise SystemExit(f"The benchmark needs real photos in {folder}; set FXENGINE_TEST_DATA to the folder above it.")
    return folder


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
