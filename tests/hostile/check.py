"""Runs every verb that would read a hostile file, and says which of them did not bear it."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.hostile.cases import Case, Kit, stamps
from tests.hostile.served import Outcome, Server

Verb = tuple[object, ...]
Verbs = Callable[[Kit, Path, Path], Sequence[Verb]]

MOST_MEMORY = 600_000_000  # bytes of any command beside what the process has: what is bounded, not what is needed
WITHIN = 300.0  # seconds of any command, on a machine that other tenants may slow down fifteen times
_LONGEST = 10_000  # characters: two of the longest paths
_FEW = 6  # verbs that all run, also without --all
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def check(server: Server, kit: Kit, case: Case, verbs: Verbs, folder: Path, variable: str = "") -> None:
    """Build a case and run commands over it, all of them; raises AssertionError with what each did not bear.

    Args:
        server: runs the commands.
        kit: sound files.
        case: what is built.
        verbs: (kit, what was built, a folder to write to) -> commands.
        folder: an empty one.
        variable: of the environment, to be what was built; none unless given.
    """
    target, out = case.build(kit, folder), folder / "out"
    out.mkdir()
    server.counts.cases += 1
    failed: dict[str, list[str]] = {}
    with case.during(target):
        for verb in _chosen(verbs(kit, target, out), server):
            before = stamps(folder)
            outcome = server.run(*verb, within=WITHIN, environ={variable: str(target)} if variable else None)
            problems = _problems(outcome, case)
            if stamps(folder) != before:
                problems.append("a private file was opened or changed")
            for problem in problems:
                failed.setdefault(problem, []).append(outcome.command)
            if outcome.end == "hung":
                break  # the other commands would hang as long
    said = (f"{problem}\n    {len(commands)} commands: {commands[0]}" for problem, commands in failed.items())
    assert not failed, "\n".join(said)


def _chosen(verbs: Sequence[Verb], server: Server) -> Sequence[Verb]:
    """Return a third of many verbs, other ones for another case, unless all are asked for."""
    if server.thorough or len(verbs) <= _FEW:
        return verbs
    return verbs[zlib.crc32(os.environ["PYTEST_CURRENT_TEST"].encode()) % 3 :: 3]


def _problems(outcome: Outcome, case: Case) -> list[str]:
    """Return what a command did that none may do."""
    if outcome.end != "ended":
        return [f"{outcome.end}: {outcome.code}"]
    if outcome.traced:
        return ["a traceback: " + " <- ".join(_frames(outcome.err))]
    found = list[str]()
    if outcome.code not in (0, 1):
        found.append(f"exit code {outcome.code}")
    if outcome.memory > MOST_MEMORY:
        found.append(f"{outcome.memory / 1e6:.0f} MB")
    if "wrong row" in outcome.out:
        found.append("a sound row is called wrong")
    if _CONTROL.search(outcome.out + outcome.err):
        found.append(f"control characters in {(outcome.out + outcome.err)[:200]!r}")
    return found + (_sentence_problems(outcome, case) if outcome.code == 1 else _missed(outcome, case))


def _missed(outcome: Outcome, case: Case) -> list[str]:
    mended = "--repair" in outcome.arguments
    return ["it was not refused"] if case.refused and not mended else []


def _sentence_problems(outcome: Outcome, case: Case) -> list[str]:
    """Return what is wrong with how a command refuses."""
    behind = list(re.finditer(r"^fxengine: ", outcome.err, re.MULTILINE))  # progress and warnings stand before it
    sentence = outcome.err[behind[-1].start() :].strip() if behind else outcome.err.strip()
    if not sentence and outcome.arguments[0] == "verify":
        sentence = outcome.out.strip()  # finding fault is its result
    elif not behind or len(sentence.splitlines()) > 2:
        return [f"not one or two lines: {sentence[:300]!r}"]
    if len(sentence) > _LONGEST:
        return [f"a sentence of {len(sentence)} characters"]
    return [] if re.search(case.says, sentence, re.DOTALL) else [f"does not say {case.says!r}: {sentence[:300]!r}"]


def _frames(err: str) -> list[str]:
    """Return what was raised, and the files that it came through, the last one first."""
    lines = err.strip().splitlines()
    frames = [line.split("/")[-1].replace('", line ', ":") for line in lines if "fxengine/" in line and "File " in line]
    return [lines[-1][:200], *frames[::-1][:4]]
