"""The command line, run as people run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fxengine.backbones import cache
from fxengine.backbones.spec import BackboneFile
from fxengine.heads import HEADS
from fxengine.ui.commands.probe import NAMES
from fxengine.ui.console import printable
from tests.conftest import make_photo, run_cli, tiny_model


@pytest.mark.slow
def test_from_photos_to_a_search(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    cache.keep(tiny_model(), "tiny-cli")
    store, head = tmp_path / "store", tmp_path / "head.onnx"
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    done = run_cli("extract", photos, "-o", store, "--backbone", tiny.path)
    assert done.returncode == 0, done.stderr
    assert "20 extracted, 1 failed, 0 unchanged" in done.stdout
    assert "1 failed: empty" in done.stdout
    assert "bound by: " in done.stdout
    assert "21 of 21" in done.stderr
    probed = run_cli("probe", store, "-o", head, "--json")
    accuracy = json.loads(probed.stdout)["accuracy"]
    assert accuracy["low"] <= accuracy["mean"] <= accuracy["high"]
    found = run_cli("search", store, photos / "cats" / "03.jpg", "-k", "2", "--json")
    assert json.loads(found.stdout)["answers"][0]["neighbours"][0]["id"] == "cats/03.jpg"
    assert "cats/03.jpg" in run_cli("search", store, photos / "cats" / "03.jpg", "-k", "2").stdout
    named = json.loads(run_cli("predict", store, "--model", head, "--json").stdout)
    assert len(named) == 21
    info = json.loads(run_cli("info", store, "--json").stdout)
    assert (info["kind"], info["rows"], info["failed"], info["labels"]) == ("store", 21, {"empty": 1}, 2)
    assert json.loads(run_cli("info", tiny.path, "--json").stdout)["space"] == tiny.fingerprint
    assert json.loads(run_cli("info", head, "--json").stdout)["classes"] == ["cats", "dogs"]


@pytest.mark.slow
def test_json_is_the_only_thing_on_standard_output(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    done = run_cli("extract", photos, "-o", tmp_path / "s", "--backbone", tiny.path, "--json")
    summary = json.loads(done.stdout)
    assert (summary["extracted"], summary["failed"], summary["interrupted"]) == (20, {}, False)
    assert set(summary["stage_share"]) == {"read", "decode", "model"}
    assert done.stderr == ""
    assert run_cli("extract", photos, "-o", tmp_path / "s", "--backbone", tiny.path, "--quiet").stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "nowhere", "-o", "s"], "fxengine: There is no folder "),
        (["extract", "."], "the following arguments are required: -o/--output"),
        (["extract", ".", "-o", "s", "--backbone", "efficientnet_lite9"], "Did you mean efficientnet_lite0"),
        (["extract", ".", "-o", "s", "--batch-size", "0"], "must be at least 1, got 0"),
        (["probe", "nowhere"], "fxengine: nowhere is no feature store"),
        (["search", "nowhere", "x.jpg"], "fxengine: nowhere is no feature store"),
        (["predict", ".", "--model", "none.onnx"], "fxengine: There is no head file none.onnx"),
        (["info", "no/such"], "fxengine: There is no no/such"),
        (["frobnicate"], "There is no command 'frobnicate'. There is: extract, probe, zeroshot, "),
        (["serach", "store"], "fxengine: There is no command 'serach'. Did you mean search?"),
        (["probe", "store", "--blance"], "unrecognized arguments: --blance. Did you mean --balanced?"),
        (["probe", "store", "--blance"], "usage: fxengine probe [-h]"),
        (["info", "x", "--quiet"], "fxengine info: there is no --quiet: what info prints is all that it does\n"),
        (["extract", ".", "--outptu", "s"], "unrecognized arguments: --outptu. Did you mean --output?"),
        (["extract", ".", "-o", "s", "--max-pixels", "0"], "argument --max-pixels: must be at least 1, got 0"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done = run_cli(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_too_many_failed_inputs_exit_2(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    (photos / "bad.jpg").write_bytes(b"")
    common = ["extract", photos, "--backbone", tiny.path]
    assert run_cli(*common, "-o", tmp_path / "a", "--max-errors", 0).returncode == 2
    assert run_cli(*common, "-o", tmp_path / "b", "--max-errors", 1).returncode == 0


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31m\n\udce9é") == "a\\x1b[31m\\n\\udce9é"


@pytest.mark.slow
def test_from_a_probe_to_a_bundle(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store, head, page = tmp_path / "store", tmp_path / "head.onnx", tmp_path / "probe.html"
    (photos / "cats<b>").mkdir()
    for i in range(8):
        make_photo(photos / "cats<b>" / f"{i}.jpg", 50 + i)
    assert run_cli("extract", photos, "-o", store, "--backbone", tiny.path, "--quiet").returncode == 0
    leaked = run_cli("probe", store, "--test", store)
    assert "all of these rows have near-duplicates among those trained on" in " ".join(leaked.stdout.split())
    probed = run_cli("probe", store, "-o", head, "--report", page, "--head", "knn")
    assert probed.returncode == 0, probed.stderr
    assert "accuracy" in probed.stdout
    text = page.read_text()
    assert "cats&lt;b&gt;" in text
    assert "cats<b>" not in text
    assert text.count("data:image/png;base64,") == 3
    assert "http" not in text
    reduced = run_cli(
        "pca", store, "-o", tmp_path / "p.onnx", "--dim", 3, "--store", tmp_path / "r", "--plot", tmp_path / "p.png"
    )
    assert "8 -> 3 numbers explain" in reduced.stdout, reduced.stderr
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    compared = json.loads(run_cli("compare", store, tmp_path / "r", "--json").stdout)
    assert [each["dim"] for each in sorted(compared["candidates"], key=lambda c: c["dim"])] == [3, 8]
    out = tmp_path / "wrong.csv"
    wrong = run_cli("mislabeled", store, "-o", out, "--report", tmp_path / "wrong.html")
    assert "labels are likely wrong" in wrong.stdout, wrong.stderr
    assert wrong.stdout.endswith(f"written to {out}\nwritten to {tmp_path / 'wrong.html'}\n")
    assert out.read_text().startswith('"id","label","suggestion"')
    bundled = json.loads(run_cli("bundle", tiny.path, head, "-o", tmp_path / "m.onnx", "--json").stdout)
    assert bundled["agreement"]["same"] == 1
    refused = run_cli("probe", store, "--labels", tmp_path / "none.csv")
    assert (refused.returncode, refused.stderr) == (1, f"fxengine: There is no file {tmp_path}/none.csv.\n")


def test_the_heads_of_the_help_are_those_there_are() -> None:
    assert ("auto", *HEADS) == NAMES
