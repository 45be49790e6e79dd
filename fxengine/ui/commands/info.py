"""`fxengine info`."""

from __future__ import annotations

import argparse
from typing import Any

from fxengine.ui.arguments import call
from fxengine.ui.console import say, say_result, shortened, table
from fxengine.ui.exit_codes import FINE

TEXT = "say what a store, a backbone, a head or a name is; compare fine-tunings"
_LONGEST = 40  # characters of a name that are shown
_EMPTY: tuple[object, ...] = (None, "", [], (), {})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("target")
    parser.add_argument("--layers", action="store_true", help="list the tensors of a net that can become features")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.ui.info import info

    facts = call(info, options).to_dict()
    if options.layers:
        say_result(options, lambda: facts["layers"], lambda: show_layers(facts["layers"]))
    elif "runs" in facts:
        say_result(options, lambda: facts, lambda: show_runs(facts["runs"]))
    else:
        say_result(options, lambda: facts, lambda: show_info(_telling(facts)))
    return FINE


def _telling(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that say something: of a store of texts no limit of pixels, of no file what is empty."""
    of_texts = facts["kind"] == "store" and facts.get("recipe", {}).get("modality") == "text"
    if of_texts and "max_pixels" in facts["limits"]:
        facts = {**facts, "limits": {name: value for name, value in facts["limits"].items() if name != "max_pixels"}}
    return _without_empty(facts)


def _without_empty(facts: dict[str, Any]) -> dict[str, Any]:
    kept = {name: _without_empty(value) if isinstance(value, dict) else value for name, value in facts.items()}
    return {name: value for name, value in kept.items() if name == "multiply_adds" or value not in _EMPTY}


def show_info(facts: dict[str, Any], indent: str = "") -> None:
    """Print what something is, a fact a line."""
    names = {name: shortened(name, _LONGEST) for name in facts}
    width = max(map(len, names.values()), default=0)
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            say(f"{indent}{names[name]}")
            show_info(value, indent + "  ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            text = "unknown" if name == "multiply_adds" and value is None else text
            say(f"{indent}{names[name]:<{width}}  {text}")


def show_runs(rows: list[dict[str, Any]]) -> None:
    """Print fine-tunings side by side."""
    names = ["run", "status", "backbone", "net", "unfreeze", "rate", "epochs", "probe", "tuned", "low", "high", "kept"]
    if not any(row["net"] for row in rows):  # none over word vectors
        names.remove("net")
    cells = [["" if row[name] is None else _short(row[name]) for name in names] for row in rows]
    table(names, cells, {"rate", "epochs", "probe", "tuned", "low", "high"})


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_layers(rows: list[dict[str, Any]]) -> None:
    """Print the tensors that can become features."""
    cells = [
        ["*" if row["default"] else "", row["tensor"], row["op"], " x ".join(map(str, row["shape"] or ["?"]))]
        for row in rows
    ]
    table(["", "tensor", "op", "shape"], cells)
    say("* what is cut by default")
