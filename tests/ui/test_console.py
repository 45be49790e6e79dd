"""What reaches the terminal: no control characters, and no megabytes, whatever a file says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from fxengine.repair.report import VerifyReport
from fxengine.ui import console
from fxengine.ui.cli import build_parser
from fxengine.ui.commands import info, verify

NASTY = "a\x1b[31m\nb\udce9"
SHOWN = "a\\x1b[31m\\nb\\udce9"
LONG = "a" * 500_000 + "b" * 500_000


def test_what_is_said_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(NASTY)
    console.say_notes([NASTY])
    console.say_written([Path(NASTY)])
    assert capsys.readouterr().out == f"{SHOWN}\n{SHOWN}\nwritten to {SHOWN}\n"
    console.table(["x"], [[NASTY]])
    assert SHOWN in capsys.readouterr().out


def test_what_is_drawn_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.write("a\nb\x1b[0m\n")
    console.say_json({"a": LONG})
    shown = capsys.readouterr().out
    assert shown.startswith("a\nb\x1b[0m\n")
    assert json.loads(shown.partition("\x1b[0m\n")[2]) == {"a": LONG}


def test_a_megabyte_is_cut_in_the_middle(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.shortened("a" * 200) == "a" * 200
    assert console.shortened(LONG) == "a" * 100 + "…" + "b" * 99
    console.say(LONG)
    assert capsys.readouterr().out == "a" * 1000 + "…" + "b" * 999 + "\n"
    console.table(["x"], [[LONG]])
    assert capsys.readouterr().out.count("a") == 100
    console.complain_of(f"first\n{LONG}")
    assert capsys.readouterr().err == "fxengine: first\n" + "a" * 1000 + "…" + "b" * 999 + "\n"
    console.progress_lines(quiet=False)(LONG)  # type: ignore[misc]
    assert len(capsys.readouterr().err) == 2001


def test_an_input_that_is_a_text_is_one_short_line() -> None:
    assert console.text_cell("one\n\ttwo\u00a0 three ") == "one two three"
    assert console.text_cell("a" * 80) == "a" * 80
    assert console.text_cell("a" * 76 + " bcde") == "a" * 76 + " bc…"
    assert console.text_cell(None) == "(not to be had)"
    assert console.text_column([{"id": "a", "text": None}, {"id": "b", "text": "c\nd"}]) == (
        ["text"],
        [["(not to be had)"], ["c d"]],
    )
    assert console.text_column([{"id": "a"}, {"id": "b"}]) == ([], [[], []])
    assert console.text_column([]) == ([], [])


def test_names_of_facts_are_printable_and_short(capsys: pytest.CaptureFixture[str]) -> None:
    info.show_info({NASTY: NASTY, LONG: {NASTY: 1}, "rows": 3})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == [SHOWN, SHOWN]
    assert shown[1] == "a" * 20 + "…" + "b" * 19
    assert shown[2] == f"  {SHOWN}  1"
    assert shown[3] == "rows" + " " * 38 + "3"


def test_a_check_names_flags(capsys: pytest.CaptureFixture[str]) -> None:
    build_parser().parse_args(["verify", "store"], argparse.Namespace())
    said = "see `sample`"
    verify.show(VerifyReport(bad_parts={NASTY: said}, wrong={"`sample`": said}, unchecked={"b": said}), "store")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        f"  bad part {SHOWN}: see --sample",
        "  wrong row `sample`: see --sample",
        "  not checked, kept: b: see --sample",
    ]
    verify.show(VerifyReport(bad_parts={"a": said}), "s3://bucket/store")  # where nothing is repaired
    assert "--repair`, of a copy in a folder, computes" in capsys.readouterr().out
