from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fxengine import extract
from fxengine.backbones import cache
from fxengine.backbones.spec import BackboneFile
from fxengine.ui.cli import main
from tests.conftest import tiny_model


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> str:
    cache.keep(tiny_model(), "tiny-search")
    extract(photos, tmp_path / "store", backbone=tiny.path)
    return str(tmp_path / "store")


def test_a_search_is_a_table_json_parquet_and_a_page(
    store: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = str(photos / "cats/03.jpg")
    assert main(["search", store, query, "-k", "2"]) == 0
    shown = capsys.readouterr().out
    assert "cats/03.jpg" in shown
    assert "among 20 rows" in shown
    out, page = tmp_path / "n.parquet", tmp_path / "n.html"
    assert main(["search", store, query, "--id", "dogs/04.jpg", "-o", str(out), "--html", str(page), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    table = pq.read_table(out)
    assert table.column_names == ["query", "rank", "id", "label", "score"]
    assert table["id"].to_pylist() == [n["id"] for answer in answers for n in answer["neighbours"]]
    html = page.read_text()
    assert html.count("<img ") == 2 + 20
    assert html.count("<h2>") == 2
    near = answers[1]["neighbours"][0]
    assert f"<figcaption>cosine {near['score']:.4f}, label {near['label']}\n{near['id']}</figcaption>" in html


def test_an_index_is_built_shown_and_kept_true(
    store: str, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", store]) == 0
    done = capfd.readouterr()
    assert "trying Flat on 18 rows" in done.err
    assert "measured on 2 held-out rows" in done.out
    assert main(["index", store, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["done"] == "unchanged"
    (Path(store) / "_index" / "index.faiss").write_bytes(b"IxF2")
    assert main(["search", store, str(photos / "cats/03.jpg")]) == 1
    assert "is damaged, or is not the file that was written here" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "21", "--id", "cats/03.jpg"], "-k must be between 1 and 20"),
        (["--id", "cats/03.jpg", "--where", "colour == 'red'"], "There is: row, id, label"),
        (["--id", "cats/03.jpg", "--where", "width > 9999"], "leaves none of the 20 rows"),
        ([], "Nothing is asked for"),
        (["none.jpg"], "none.jpg: The file is not there"),
        (["--id", "cats/03.jpg", "-o", "n.txt"], "n.txt must end in .parquet, .csv, .json"),
        (["--id", "cats/03.jpg", "--html", "no/such/n.html"], "Cannot write no/such/n.html: No such file"),
    ],
)
def test_a_mistake_is_one_sentence(
    store: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", store, *arguments]) == 1
    done = capsys.readouterr()
    assert message in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recall", "1.5"], "must be between 0 and 1"),
        (["--memory", "much"], "must be a size such as 800MB"),
        (["--latency", "5"], "must be a time such as 5ms"),
    ],
)
def test_a_wish_that_is_none(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["index", "store", *arguments])
    assert stopped.value.code == 1
    assert message in capsys.readouterr().err
