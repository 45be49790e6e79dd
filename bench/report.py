"""Rewrites the table of figures in README.md from bench/results/*.json.

python -m bench.report [--check]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from bench.machine import RESULTS, ROOT
from bench.report_search import search_figures

BEGIN, END = "<!-- figures: made by bench/report.py -->", "<!-- end of figures -->"


def figures() -> list[tuple[str, str, str]]:
    """Return (what, figure, command) of every result that is there."""
    rows: list[tuple[str, str, str]] = []
    decode, extract, memory = (_read(name) for name in ("decode", "extract", "memory"))
    if decode:
        fast, plain = decode["rates"]["fxengine"], decode["rates"]["plain Pillow"]
        rows.append(
            (
                "decode + resize, one core, images/s",
                f"{fast['best']:.0f} best, {fast['median']:.0f} median; plain Pillow {plain['best']:.0f}, "
                f"{plain['median']:.0f}: **{decode['ratio']['best']:.2f}x, {decode['ratio']['median']:.2f}x**",
                "`scripts/bench decode`",
            )
        )
        agree = decode["agreement"]
        rows.append(
            (
                "agreement with Pillow",
                f"mean pixel difference {agree['mean_pixel_difference']:.2f} of 255; feature cosine mean "
                f"{agree['mean_cosine']:.5f}, worst {agree['worst_cosine']:.5f}",
                "`scripts/bench decode`",
            )
        )
    if extract:
        rates, share = extract["rates"], extract["share_of_limit"]
        rows.append(
            (
                f"end to end, {extract['backbone']}, fp32, images/s",
                f"{rates['end to end']['best']:.0f} best, {rates['end to end']['median']:.0f} median (decode alone "
                f"{rates['decode alone (D)']['median']:.0f}, model alone {rates['model alone (M)']['median']:.0f}): "
                f"**{share['best']:.0%}, {share['median']:.0%} of the limit** 1/(1/D + 1/M)",
                "`scripts/bench extract`",
            )
        )
    if memory:
        peaks = {int(count): peak / 1e6 for count, peak in memory["peak_bytes"].items()}
        text = ", ".join(f"{peak:.0f} MB at {count:,} inputs" for count, peak in sorted(peaks.items()))
        rows.append(("peak memory of an extraction", text, "`scripts/bench memory`"))
        odd = memory.get("odd_images")
        if odd:
            rows.append(
                (
                    "522 odd images (bombs, truncated, ...), 4 decoders",
                    f"peak {odd['peak_bytes'] / 1e6:.0f} MB, slowest file {odd['slowest_decode_s']:.1f} s",
                    "`scripts/bench memory`",
                )
            )
        listing = memory["listing"]
        rows.append(
            (
                "listing a folder",
                f"{listing['files']:,.0f} files in {listing['seconds']:.0f} s, "
                f"{listing['bytes_per_file']:.1f} bytes of memory a file",
                "`scripts/bench memory`",
            )
        )
    store, update = _read("store"), _read("update")
    if store:
        ratio, rates = store["ratio"], store["rates_gb_s"]
        rows.append(
            (
                "reading a store, GB/s",
                f"`vectors()` {rates['vectors()']['best']:.2f} best, {rates['vectors()']['median']:.2f} median "
                f"({ratio['vectors() / pyarrow']['median']:.2f}x pyarrow's own read); mapped copy "
                f"{rates['vectors(mmap=True), copied']['median']:.1f} "
                f"({ratio['mapped / copy in memory']['median']:.0%} of a copy in memory)",
                "`scripts/bench store`",
            )
        )
    if update:
        times = update["times_the_walk"]
        rows.append(
            (
                f"a run with nothing to do, {update['files']:,} files",
                f"{update['files'] / update['rates']['run with nothing to do']['median']:.1f} s, "
                f"**{times['best']:.2f}x, {times['median']:.2f}x** walking and stat-ing them in Python; "
                f"{update['bytes_per_known_row']:.0f} bytes of memory a known row",
                "`scripts/bench update`",
            )
        )
    search, duplicates, retrieval = (_read(name) or {} for name in ("search", "duplicates", "retrieval"))
    return rows + search_figures(search, duplicates, retrieval)


def table() -> str:
    """Return the table and what it was measured on."""
    lines = ["| what | figure | command |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {command} |" for what, figure, command in figures()]
    machines = [json.loads(path.read_text())["machine"] for path in sorted(RESULTS.glob("*.json"))]
    if machines:
        last = machines[-1]
        commits = ", ".join(sorted({machine["commit"] for machine in machines}))
        lines += [
            "",
            f"Measured on {last['cores']} cores of {last['cpu'].split(' (')[0]}, {last['system']}, commits {commits}; "
            "the machine is shared and its speed drifts, so contenders took turns in one run, and the best and the "
            "median round are given.",
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


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


if __name__ == "__main__":
    main()
