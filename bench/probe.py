"""Heads from rows in streams against scikit-learn's cross-validated ridge and logistic regression.

python -m bench.probe [--rows 200000] [--rounds 3] [--ridge-limit 15] [--logistic-limit 25]   (0: keep what is known)

Every contender runs in a process of its own, from Parquet to a head, in 5 folds and ridge with the same 10 strengths;
its accuracy is that on further rows with true labels. Ridge runs several times, all others once, and scikit-learn's are
stopped after so many times the median of ridge: what is then known is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.hard_store import in_a_process, timed, write_store
from bench.machine import RESULTS, save
from fxengine.features.read import FeatureStore
from fxengine.heads.streams.closed_form import STRENGTHS

OURS = ("ridge", "lda", "logistic")
_PATH = RESULTS / "probe.json"


def ours(name: str, store: Path, test: Path) -> dict[str, Any]:
    """Probe, and apply the head."""
    from fxengine.heads.file import Head
    from fxengine.probing.probe import probe

    report = probe(store, store.with_suffix(".onnx"), head=name, near=2)
    head = Head.load(store.with_suffix(".onnx"))
    right = []
    for table in FeatureStore.open(test).batches():
        said = head.answers(table.vectors).argmax(axis=1)
        right += [head.facts.classes[i] == label for i, label in zip(said, table.labels, strict=True)]
    return {"accuracy": float(np.mean(right)), "cross_validated": report.score.mean}


def theirs(model: Any, store: Path, test: Path) -> dict[str, Any]:
    """Fit scikit-learn's model to all rows in memory, scaled to length 1 as ours are."""
    x, y = _read(store)
    model.fit(x, y)
    return {"accuracy": float(model.score(*_read(test)))}


def _read(store: Path) -> tuple[np.ndarray, np.ndarray]:
    opened = FeatureStore.open(store)
    return opened.vectors(normalize=True, dtype="float32"), np.array(opened.labels())


def run_one(name: str, store: Path, test: Path) -> None:
    """Run one contender in this process and print what it took."""
    if name in OURS:
        timed(lambda: ours(name, store, test))
        return
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifierCV

    model = {
        "RidgeClassifierCV": lambda: RidgeClassifierCV(alphas=STRENGTHS, cv=5),
        "LogisticRegressionCV": lambda: LogisticRegressionCV(Cs=10, cv=5),
        "LogisticRegression": lambda: LogisticRegression(C=100.0),
    }[name]()
    timed(lambda: theirs(model, store, test))


def measure(
    folder: Path, rows: int, options: argparse.Namespace, known: dict[str, Any], *, others: bool
) -> dict[str, Any]:
    """Return seconds, memory and accuracy of all contenders at `rows` rows; `known` holds those of an earlier run."""
    store, test = write_store(folder / f"s{rows}", rows, 1), folder / "test"
    if not test.exists():
        write_store(test, 20_000, 2, noise=0.0)
    here = ("--store", store, "--test", test)
    done = []
    for number in range(options.rounds):
        os.environ["FXENGINE_CACHE"] = str(folder / f"cache-{rows}-{number}")  # nothing is known of the store
        run = in_a_process("bench.probe", "--run", "ridge", *here)
        assert run is not None
        done.append(run)
    seconds = [run["seconds"] for run in done]
    middle = statistics.median(seconds)
    found: dict[str, Any] = {"fxengine": {**done[0], "best_s": min(seconds), "median_s": middle, "rounds": len(done)}}
    print(rows, found["fxengine"], flush=True)
    for name in OURS[1:] if others else ():
        os.environ["FXENGINE_CACHE"] = str(folder / f"cache-{name}")
        found[f"fxengine {name}"] = in_a_process("bench.probe", "--run", name, *here)
        print(rows, name, found[f"fxengine {name}"], flush=True)
    for name, factor in (
        ("RidgeClassifierCV", options.ridge_limit),
        ("LogisticRegressionCV", options.logistic_limit),
        ("LogisticRegression", options.logistic_limit),
    ):
        if factor:
            limit = factor * middle
            run = in_a_process("bench.probe", "--run", name, *here, limit=limit)
            found[name] = run or {"not_done_after_s": round(limit, 1)}
            found[name]["times_fxengine"] = round((run["seconds"] if run else limit) / middle, 1)
            print(rows, name, found[name], flush=True)
        elif name in known:
            row = known[name]
            taken = row.get("seconds", row.get("not_done_after_s"))
            found[name] = {**row, "times_fxengine": round(taken / middle, 1)}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ridge-limit", type=float, default=15)
    parser.add_argument("--logistic-limit", type=float, default=25)
    parser.add_argument("--run")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--test", type=Path)
    options = parser.parse_args()
    if options.run:
        run_one(options.run, options.store, options.test)
        return
    result: dict[str, Any] = {"rows": options.rows, "by_rows": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for share in (4, 2):
            alone = argparse.Namespace(rounds=options.rounds, ridge_limit=0, logistic_limit=0)
            found = measure(folder, options.rows // share, alone, {}, others=False)
            result["by_rows"][options.rows // share] = found["fxengine"]
        before = json.loads(_PATH.read_text()) if _PATH.exists() else {}
        known = before["contenders"] if before.get("rows") == options.rows else {}
        result["contenders"] = measure(folder, options.rows, options, known, others=True)
        result["by_rows"][options.rows] = result["contenders"]["fxengine"]
    save("probe", result)


if __name__ == "__main__":
    main()
