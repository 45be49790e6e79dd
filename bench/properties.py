"""How often the library's numbers agree with their judges, and how often its 95% intervals hold.

python -m bench.properties                     both, some hours on two cores
python -m bench.properties --trials 20 --draws 0
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.coverage import BEYOND, curve_held, held
from bench.judges import JUDGES, Trial
from bench.machine import save
from fxengine.heads import HEADS
from fxengine.heads.evaluate.interval import exact_interval

SIZES = (60, 200, 1000)
_CURVES = ("ridge", "logistic")
_SLOW = ("mlp", "auto")


def tried(trial: Trial, trials: int) -> dict[str, Any]:
    """Run a judge's trials, each with a seed of its own; return how many there were and what differed."""
    begin, wrong = time.perf_counter(), []
    for seed in range(trials):
        with TemporaryDirectory() as folder:
            differs = trial(np.random.default_rng(seed), Path(folder))
        if differs:
            wrong.append(f"{seed}: {differs}")
    return {"trials": trials, "wrong": wrong, "seconds": round(time.perf_counter() - begin, 1)}


def covered(head: str, rows: int, draws: int) -> dict[str, Any]:
    """Return how many of some draws' intervals held the accuracy that the written head has, and the mean error."""
    found = []
    for seed in range(draws):
        with TemporaryDirectory() as folder:
            found.append(held(head, rows, np.random.default_rng([seed, rows]), Path(folder)))
    return _summary(found)


def curves(head: str, rows: int, draws: int) -> dict[str, Any]:
    """Return the same of a learning curve, by how many times the rows."""
    found = [curve_held(head, rows, np.random.default_rng([seed, rows])) for seed in range(draws)]
    return {f"{times}x": _summary([each[i] for each in found]) for i, times in enumerate(BEYOND)}


def _summary(found: list[tuple[bool, float]]) -> dict[str, Any]:
    hits = sum(hit for hit, _ in found)
    share = exact_interval(hits / len(found), len(found))
    return {
        "draws": len(found), "held": hits, "low": share.low, "high": share.high,
        "bias": float(np.mean([bias for _, bias in found])),
    }  # fmt: skip


def _judge(trials: int) -> dict[str, Any]:
    found = {}
    for name, trial in JUDGES.items():
        found[name] = tried(trial, trials)
        print(name, {**found[name], "wrong": len(found[name]["wrong"])}, flush=True)
    print(f"{'judged':<28} trials  agree")
    for name, each in found.items():
        print(f"{name:<28} {each['trials']:>6} {each['trials'] - len(each['wrong']):>6}")
    return found


def _cover(draws: int) -> dict[str, Any]:
    found: dict[str, Any] = {"probe": {}, "curve": {}}
    for rows in SIZES:
        for head in (*HEADS, "auto"):
            few = (4 if rows == SIZES[-1] else 1) * (5 if head in _SLOW else 1)
            found["probe"][f"{head}, {rows} rows"] = covered(head, rows, max(1, draws // few))
            print(head, rows, found["probe"][f"{head}, {rows} rows"], flush=True)
    for rows in SIZES[:2]:
        for head in _CURVES:
            for times, each in curves(head, rows, max(1, draws // 4)).items():
                found["curve"][f"{head}, {rows} rows, {times}"] = each
    for kind, rows_of in found.items():
        print(f"{'interval of a ' + kind:<28} {'held':>12}  95% interval of that      bias")
        for name, each in rows_of.items():
            share, of = each["held"] / each["draws"], f"{each['low']:.1%} to {each['high']:.1%}"
            print(f"{name:<28} {share:>6.1%} of {each['draws']:<3} {of:>24} {100 * each['bias']:+6.1f} points")
    return found


def main() -> None:
    """Judge, cover, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100, help="of each judge")
    parser.add_argument("--draws", type=int, default=200, help="of each head and size; fewer of what is slow")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = {"judges": _judge(given.trials)}
    if given.draws:
        found["intervals"] = _cover(given.draws)
    save("properties", found)


if __name__ == "__main__":
    main()
