"""Rewrites the table of figures in README.md from bench/results/*.json.

python -m bench.report [--check]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from bench.machine import RESULTS, ROOT
from bench.report_heads import head_figures
from bench.report_search import search_figures
from bench.report_speed import speed_figures

BEGIN, END = "<!-- figures: made by bench/report.py -->", "<!-- end of figures -->"


def figures() -> list[tuple[str, str, str]]:
    """Return (what, figure, command) of every result that is there."""
    return speed_figures(_read) + head_figures(_read) + search_figures(_read)


def table() -> str:
    """Return the table and what it was measured on."""
    lines = ["| what | figure | command |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {command} |" for what, figure, command in figures()]
    machines: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        made = json.loads(path.read_text())["machine"]
        machines.setdefault(f"{made['cores']} cores of {made['cpu']}", []).append(f"{path.stem} ({made['commit']})")
    lines += ["", "Measured (benchmark, commit) on"]
    lines += [f"* {cpu}: {', '.join(names)}" for cpu, names in machines.items()]
    lines += [
        "",
        "The machines are shared and their speed drifts many-fold, so contenders took turns in one run, and the best "
        "and the median round are given.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Rewrite README.md, or with --check say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    wanted = f"{head}{BEGIN}\n{table()}\n{END}{tail}"
    if parser.parse_args().check:
        raise SystemExit(0 if text == wanted else "README.md is not what bench/report.py makes: run it.")
    readme.write_text(wanted)


def _read(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


if __name__ == "__main__":
    main()
