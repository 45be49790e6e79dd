"""What every command keeps to; mypy checks here that each module is a `Command`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import get_type_hints

import pytest

import fxengine
from fxengine import Probe, Summary, extract
from fxengine.backbones import cache
from fxengine.backbones.cache import write_backbone
from fxengine.ui.cli import build_parser, main
from fxengine.ui.commands import (
    COMMANDS,
    TELLING,
    Command,
    advise,
    apply,
    backbones,
    bundle,
    calibrate,
    cluster,
    compare,
    doctor,
    dump,
    duplicates,
    export,
    finetune,
    fit,
    index,
    info,
    load_command,
    map,
    mislabeled,
    pca,
    predict,
    probe,
    search,
    serve,
    verify,
    words,
    zeroshot,
)
from fxengine.ui.commands import extract as extract_command
from fxengine.ui.exit_codes import FINE, MISTAKE
from tests.conftest import make_photo, tiny_model
from tests.pairs import tiny_pair

MODULES: dict[str, Command] = {
    "extract": extract_command,
    "probe": probe,
    "zeroshot": zeroshot,
    "predict": predict,
    "compare": compare,
    "mislabeled": mislabeled,
    "pca": pca,
    "bundle": bundle,
    "words": words,
    "search": search,
    "index": index,
    "duplicates": duplicates,
    "map": map,
    "cluster": cluster,
    "serve": serve,
    "apply": apply,
    "advise": advise,
    "finetune": finetune,
    "fit": fit,
    "export": export,
    "backbones": backbones,
    "calibrate": calibrate,
    "doctor": doctor,
    "verify": verify,
    "dump": dump,
    "info": info,
}
# A cheap run of each, in the order of the help.
RUNS = {
    "extract": "photos -o new --backbone tiny.onnx",
    "probe": "store",
    "zeroshot": "tiny.text.onnx -o zero.onnx --classes names.txt",
    "predict": "photos --backbone tiny.onnx --limit 2",
    "compare": "store",
    "mislabeled": "store",
    "pca": "store -o pca.onnx --dim 2",
    "bundle": "tiny.onnx head.onnx -o bundle.onnx",
    "words": "vectors.txt -o words",
    "search": "store --id cats/01.jpg -k 2",
    "index": "store",
    "duplicates": "store",
    "map": "store -o map.json",
    "cluster": "store -k 2",
    "serve": "store",
    "apply": "store decisions.csv",
    "advise": "store --target 0.01",
    "finetune": "photos -o tuned.onnx",
    "fit": "photos -o fit.onnx --backbone tiny.onnx --target 0.01",
    "export": "tiny.onnx -o copy.onnx",
    "backbones": "",
    "calibrate": "tiny.onnx photos",
    "doctor": "",
    "verify": "store",
    "dump": "store -o vectors.npy",
    "info": "store",
}
_NEVER = {"finetune", "calibrate", "doctor", "serve"}  # they train, compare, time for long, or serve until Ctrl-C
_SLOW = {"fit", "advise", "mislabeled", "compare"}
CHEAP = [
    pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name for name in COMMANDS if name not in _NEVER
]
MISTAKES = {
    "extract": ("nowhere -o new", "There is no folder"),
    "probe": ("nowhere", "nowhere is no feature store"),
    "zeroshot": ("tiny.onnx -o zero.onnx --classes none.txt", "Cannot read none.txt"),
    "predict": ("photos --model none.onnx", "There is no head file none.onnx"),
    "compare": ("nowhere", "nowhere is no feature store"),
    "mislabeled": ("store --labels none.csv", "There is no file none.csv"),
    "pca": ("store -o pca.onnx --dim 99", "must be between 1 and 8"),
    "bundle": ("tiny.onnx none.onnx -o bundle.onnx", "There is no head file none.onnx"),
    "words": ("none.txt -o words", "There is no file 'none.txt' of word vectors"),
    "search": ("store --id none.jpg", "has no vector for 'none.jpg'"),
    "index": ("nowhere", "nowhere is no feature store"),
    "duplicates": ("store --threshold 7", "--threshold must be a number above 0 and at most 1. Got 7.0"),
    "map": ("store -o map.txt", "map.txt must end in .parquet, .json"),
    "serve": ("nowhere", "nowhere is no feature store"),
    "apply": ("store none.csv", "There is no file none.csv"),
    "cluster": ("store -k 99", "must be between 1 and 20"),
    "advise": ("store --target 95", "--target must be a number above 0 and at most 1"),
    "finetune": ("photos -o tuned.txt", "must end in .onnx"),
    "fit": ("photos -o fit.txt", "must end in .onnx"),
    "export": ("none.onnx -o copy.onnx", "There is no backbone file none.onnx"),
    "calibrate": ("tiny.onnx nowhere", "There is no folder"),
    "verify": ("nowhere", "nowhere is no feature store"),
    "dump": ("store -o vectors.txt", "must end in .npy, .csv, .parquet"),
    "info": ("no/such", "There is no no/such"),
}
# What a command has beside the parameters of its function, and who takes it.
OWN = {
    "extract": {"max_errors"},  # the exit code
    "probe": {"report", "pictures"},  # write_page
    "compare": {"report"},
    "mislabeled": {"report", "pictures", "top"},  # write_page; how many rows are printed
    "pca": {"plot"},  # write_page
    "search": {"report", "pictures"},
    "duplicates": {"report"},
    "map": {"png"},
    "cluster": {"report", "pictures"},
    "finetune": {"preview_augment"},  # preview_augmentation, which trains nothing
}
PYTHON_ONLY = {
    "progress",  # the command line prints it
    "tell",  # and this
    "cancel",  # the command line has signals
    "notes",  # where the command line notes what is being decoded
    "limits",  # max_pixels and max_bytes in one, as `verify` hands them on
}
OPTIONAL = {("finetune", "output")}  # not with --preview-augment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, a backbone, a store and a head."""
    folder = tmp_path_factory.mktemp("commands")
    for i in range(20):
        make_photo(folder / "photos" / ("cats" if i % 2 else "dogs") / f"{i:02d}.jpg", i)
    write_backbone(tiny_model(), folder / "tiny.onnx")
    cache.keep(tiny_model(), "tiny-commands")
    (folder / "vectors.txt").write_text("good 1 0.5\nbad -1 0.5\n")
    tiny_pair(folder)
    (folder / "decisions.csv").write_text("id,decision\ncats/01.jpg,keep\n")
    (folder / "names.txt").write_text("cats\ndogs\n")
    extract(folder / "photos", folder / "store", backbone=folder / "tiny.onnx")
    Probe.fit(folder / "store").save(folder / "head.onnx")
    return folder


def test_the_table_names_every_command() -> None:
    assert tuple(MODULES) == tuple(RUNS) == COMMANDS
    assert {load_command(name) is module for name, module in MODULES.items()} == {True}
    folder = Path(str(probe.__file__)).parent
    assert {path.stem for path in folder.glob("*.py")} == {"__init__", *COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_begins_with_its_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = MODULES[name].TEXT
    assert text == text.strip().rstrip(".")
    assert "\n" not in text
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == FINE
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: fxengine {name} ")
    assert text in " ".join(shown.split())
    assert "--json" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_a_parameter_of_its_function(name: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    MODULES[name].add_arguments(parser)
    shown = {action.dest: action for action in parser._actions if action.help != argparse.SUPPRESS}
    parameters = signature(function_of(name)).parameters
    assert shown.keys() - OWN.get(name, set()) == parameters.keys() - PYTHON_ONLY
    for dest in shown.keys() & parameters.keys():
        default = shown[dest].default
        wanted = parameters[dest].default
        if needed(shown[dest]):
            assert wanted is Parameter.empty, f"{dest} is needed"
        elif (name, dest) not in OPTIONAL:
            assert (tuple(default) if isinstance(default, list) else default) == wanted, dest


def function_of(name: str) -> Callable[..., object]:
    called = "list_backbones" if name == "backbones" else name
    assert called in fxengine.__all__
    function: Callable[..., object] = getattr(fxengine, called)
    assert function.__name__ == called
    return function


def needed(action: argparse.Action) -> bool:
    return action.required and action.nargs != "*"


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_function_returns_is_one_frozen_dataclass(name: str) -> None:
    kind = get_type_hints(function_of(name))["return"]
    assert is_dataclass(kind)
    assert kind is Summary or vars(kind)["__dataclass_params__"].frozen  # a summary grows while it is told
    assert "Attributes:" in (kind.__doc__ or "")
    for each in fields(kind):
        assert f"        {each.name}: " in (kind.__doc__ or ""), each.name
    assert callable(vars(kind)["to_dict"])


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in TELLING and name not in _NEVER | _SLOW])
def test_quiet_prints_nothing(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([name, *RUNS[name].split(), "--quiet"]) == FINE
    assert capfd.readouterr() == ("", "")


def test_what_only_tells_cannot_be_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for name in TELLING:
        with pytest.raises(SystemExit):
            main([name, *RUNS[name].split(), "--quiet"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("search store a.jpg --html page.html", "search store a.jpg --report page.html"),
        ("duplicates store --html page.html", "duplicates store --report page.html"),
        ("cluster store -k 2 --html page.html", "cluster store -k 2 --report page.html"),
        ("fit photos -o m.onnx --target-accuracy 0.9", "fit photos -o m.onnx --target 0.9"),
        ("pca store -o p.onnx --dim 2 --store small", "pca store -o p.onnx --dim 2 --reduced small"),
    ],
)
def test_a_former_name_of_a_flag_goes_on_working(former: str, now: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    given = next(word for word in former.split() if word not in now.split())
    parsed = [parser.parse_args(words.split(), argparse.Namespace()) for words in (former, now)]
    assert parsed[0] == parsed[1]
    with pytest.raises(SystemExit):
        main([former.split()[0], "--help"])
    assert given not in capsys.readouterr().out.split()


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_a_mistake(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, *RUNS[name].split(), "--no-such-flag"])
    assert stopped.value.code == MISTAKE
    shown = capsys.readouterr()
    assert shown.err.startswith(f"usage: fxengine {name} ")
    assert shown.err.endswith(f"fxengine {name}: unrecognized arguments: --no-such-flag\n")
    assert shown.out == ""


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", CHEAP)
def test_json_is_one_document_and_all_there_is(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([name, *RUNS[name].split(), "--json"]) == FINE
    shown = capfd.readouterr()
    assert json.loads(shown.out)
    assert shown.err == ""


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_in_a_line_or_two(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, words = MISTAKES[name]
    assert main([name, *arguments.split()]) == MISTAKE
    shown = capfd.readouterr()
    assert shown.err.startswith("fxengine: ")
    assert words in shown.err
    assert shown.err.count("\n") <= 2
    assert "Traceback" not in shown.err
    assert shown.out == ""
