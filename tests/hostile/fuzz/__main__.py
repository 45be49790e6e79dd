"""The program behind `scripts/fuzz`."""

from __future__ import annotations

import argparse
import pickle
import random
import tempfile
from pathlib import Path

from fxengine.ui.console import say
from tests.hostile.fuzz import TARGETS, load_target
from tests.hostile.fuzz.child import read_once
from tests.hostile.fuzz.runs import fuzz

_BLOCK = 500  # inputs of one seed


def main() -> int:
    """Fuzz what is asked for; return 1 where something came through."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Read hostile files until one does harm.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--seed", type=int, help="of the first inputs (random)")
    parser.add_argument("--keep", type=Path, help="folder for inputs that did harm (a temporary one)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="read such an input once more")
    options = parser.parse_args()
    if options.again is not None:
        return _again(options.target, options.again)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    keep = options.keep or Path(tempfile.mkdtemp(prefix="fxengine-fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    (done,) = fuzz([options.target], keep, examples=_BLOCK, seed=seed, seconds=60 * options.minutes)
    say(f"{done.target}: {done.examples} inputs from seed {seed} in {done.seconds:.0f} s, {done.memory / 1e6:.0f} MB")
    for fault, file in done.faults.items():
        say(fault)
        say(f"    scripts/fuzz {done.target} --again {file}")
    return 1 if done.faults else 0


def _again(name: str, file: Path) -> int:
    target = load_target(name)
    with tempfile.TemporaryDirectory() as folder:
        data = pickle.loads(file.read_bytes())  # written by the run before, by this user
        say(repr(data)[:2000])
        most = read_once(target, data, target.prepare(Path(folder)))
    say(f"nothing came through, {most / 1e6:.0f} MB at most")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
