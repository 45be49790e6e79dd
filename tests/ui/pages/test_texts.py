"""Stores of texts on pages, in the terminal and in JSON: their texts stand where pictures would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine import extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.table_rows import LONGEST
from fxengine.probing.mislabeled import mislabeled
from fxengine.probing.probe import probe
from fxengine.retrieval.cluster import cluster
from fxengine.retrieval.duplicates import duplicates
from fxengine.retrieval.map import map as make_map
from fxengine.retrieval.search import search
from fxengine.ui.cli import main
from fxengine.ui.pages import html, load_page, write_page
from tests.texts import write_table
from tests.ui.pages.reader import read

NASTY = "</blockquote></figure><script>alert(1)</script>&\"'\x1b\u202e"
RESULTS: dict[str, Callable[[Path], object]] = {
    "SearchReport": lambda store: search(store, id=["00"], k=3),
    "DuplicatesReport": duplicates,
    "ClusterReport": lambda store: cluster(store, 2),
    "Suspects": lambda store: mislabeled(store, folds=2),
    "ProbeReport": lambda store: probe(store, folds=2),
}
GONE = "The text is not there any more, or is another one now."


def rows() -> dict[str, tuple[str, str]]:
    """Return id -> text and label: two kinds, the last two of each with the other's label; 01 is the text of 00."""
    found = {}
    for i in range(24):
        kind = "good" if i % 2 else "bad"
        label = kind if i < 20 else "bad" if i % 2 else "good"
        found[f"{i:02d}"] = (f"{kind} {kind} {kind} {chr(97 + i)}", label)
    return {**found, "01": (found["00"][0], "good"), "05": (f"good {NASTY} good", "good")}


def make_store(folder: Path, backbone: BackboneFile, *, keep_text: bool = False) -> Path:
    extract(
        write_table(folder / "t.csv", [(key, *each) for key, each in rows().items()]),
        folder / "store",
        backbone=backbone.path,
        precision="fp32",
        column="text",
        id_column="id",
        label_column="label",
        keep_text=keep_text,
    )
    return folder / "store"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_texts: BackboneFile) -> Path:
    return make_store(tmp_path_factory.mktemp("texts"), tiny_texts)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes this somebody who has named nothing."""
    return lambda: monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "other cache"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "ProbeReport" else name for name in RESULTS]
)
def test_pages_show_texts_of_what_was_named_only(name: str, store: Path, stranger: Callable[[], None]) -> None:
    page = str(load_page(name)(RESULTS[name](store)))
    shown = page.count("<blockquote")
    assert shown >= 2
    assert '<img src="data:image/jpeg' not in page
    assert "picture" not in read(page.partition("</style>")[2]).shown
    assert "good good good" in page or "bad bad bad" in page
    assert "script" not in read(page).tags
    stranger()
    hidden = str(load_page(name)(RESULTS[name](store)))
    assert "<blockquote" not in hidden
    # Texts that cannot be read cannot be compared: fewer are grouped.
    assert hidden.count(">not shown<") == (hidden.count("<figure") if name == "DuplicatesReport" else shown)
    assert hidden.count(f"<p>{html.HIDDEN_TEXTS}</p>") == 1


def test_a_page_shows_the_text_with_its_row(store: Path) -> None:
    page = str(load_page("DuplicatesReport")(duplicates(store, threshold=1)))
    assert "1 groups, 1 texts more than needed among 24" in page
    text = rows()["00"][0]
    assert f'<blockquote dir="auto">{text}</blockquote><figcaption>keep, label bad\n00</figcaption>' in page
    assert f'<blockquote dir="auto">{text}</blockquote><figcaption>same text as 00, label good\n01</figcaption>' in page
    assert "group 0: 2 texts, crosses labels" in page


def test_a_caption_names_what_it_says(store: Path) -> None:
    found = search(store, id=["00"], k=3)
    for near in found.answers[0].neighbours:
        said = f"<figcaption>cosine {near.score:.4f}, label {near.label}\n{near.id}</figcaption>"
        assert said in str(load_page("SearchReport")(found))
    page = str(load_page("SearchReport")(search(store, id=["00"], k=3, metric="l2")))
    assert "<figcaption>distance 0.0000, label good\n01</figcaption>" in page
    assert "<figcaption>inner product " in str(load_page("SearchReport")(search(store, id=["00"], k=3, metric="ip")))
    made = cluster(store, 1)
    first = made.table.sort_by("distance").to_pylist()[0]
    said = f"distance {first['distance']:.3f}, label {first['label']}\n{first['id']}<"
    assert said in str(load_page("ClusterReport")(made))


def test_wrong_labels_are_counted_shown_and_all_there_are(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = mislabeled(store, folds=2)
    count, more = len(found.rows), len(found.rows) - found.issues
    assert count > 2
    said = f"{found.issues} of 24 labels are likely wrong, {more} more differ from the answer"
    assert main(["mislabeled", str(store), "--folds", "2", "--top", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{said} (logistic, out of fold)"
    assert shown[-1] == f"the 2 most suspicious of these {count} rows; --top N shows more, -o FILE writes all"
    out = tmp_path / "wrong.csv"
    assert main(["mislabeled", str(store), "--folds", "2", "--top", "2", "-o", str(out)]) == 0
    assert f"the 2 most suspicious of these {count} rows; --top N shows more\n" in capsys.readouterr().out
    assert main(["mislabeled", str(store), "--folds", "2"]) == 0
    assert "most suspicious of" not in capsys.readouterr().out
    page = str(load_page("Suspects")(found))
    assert f"<p>{said}. Shown are all of them, the most suspicious first.</p>" in page


def test_a_text_that_is_gone_or_changed_says_so(tmp_path: Path, tiny_texts: BackboneFile) -> None:
    report = cluster(make_store(tmp_path, tiny_texts), 1)
    (tmp_path / "t.csv").unlink()
    page = str(load_page("ClusterReport")(report))
    assert page.count(GONE) == 12
    assert html.HIDDEN_TEXTS not in page
    assert report.to_dict()["clusters"][0]["text"] is None


def test_a_folder_that_is_named_shows_them_and_the_command_says_how(
    store: Path, tmp_path: Path, stranger: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    stranger()
    page = tmp_path / "page.html"
    command = ["cluster", str(store), "-k", "1", "--report", str(page)]
    assert main(command) == 0
    assert capfd.readouterr().err == f"fxengine: {html.HIDDEN_TEXTS} --pictures names a folder.\n"
    assert main([*command, "--pictures", str(store.parent)]) == 0
    assert capfd.readouterr().err == ""
    assert page.read_text().count("<blockquote") == 12


def test_kept_texts_are_shown_wherever_the_store_is(
    tmp_path: Path, tiny_texts: BackboneFile, stranger: Callable[[], None]
) -> None:
    make_store(tmp_path, tiny_texts, keep_text=True)
    (tmp_path / "t.csv").unlink()
    stranger()
    told = list[str]()
    write_page(cluster(tmp_path / "store", 1), tmp_path / "page.html", tell=told.append)
    assert (tmp_path / "page.html").read_text().count("<blockquote") == 12
    assert told == []


def test_json_says_the_texts(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {key: text for key, (text, _) in rows().items()}

    def said(*command: str) -> dict[str, list[dict[str, str]]]:
        assert main([command[0], str(store), *command[1:], "--json"]) == 0
        found: dict[str, list[dict[str, str]]] = json.loads(capsys.readouterr().out)
        return found

    assert {row["id"]: row["text"] for row in said("duplicates", "--threshold", "1")["table"]} == {
        "00": texts["00"],
        "01": texts["00"],
    }
    clusters = said("cluster", "-k", "2")["clusters"]
    assert [each["text"] for each in clusters] == [texts[each["medoid"]] for each in clusters]
    suspects = said("mislabeled", "--folds", "2")["rows"]
    assert suspects
    assert [row["text"] for row in suspects] == [texts[row["id"]] for row in suspects]
    assert all(row["text"] == texts[row["id"]] for row in said("map")["outliers"])


def test_the_terminal_says_the_texts(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["duplicates", str(store), "--threshold", "1"]) == 0
    shown = capsys.readouterr().out
    assert "│     0 │ identical │ good  │ 01 │ bad bad bad a │" in shown
    assert "1 groups, 1 texts more than needed among 24" in shown
    assert "1 groups hold texts of several labels" in shown
    assert "likeness: of the vectors, to the text that is kept" in shown
    assert "1 identical: identical to one that is kept" in shown
    for command in (["cluster", "-k", "2"], ["map"], ["mislabeled", "--folds", "2"]):
        assert main([command[0], str(store), *command[1:]]) == 0
        shown = capsys.readouterr().out
        assert "text" in shown.splitlines()[1] + shown.splitlines()[2]
        assert shown.isprintable() or "\x1b" not in shown
        assert " good good" in shown or " bad bad" in shown


def test_results_say_where_their_store_is(store: Path) -> None:
    assert duplicates(store).store == cluster(store, 2).store == make_map(store).store == str(store)


def test_pca_says_which_columns_bring_a_reduced_store_up_to_date(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, reduced = tmp_path / "pca.onnx", tmp_path / "reduced"
    assert main(["pca", str(store), "-o", str(made), "--dim", "2", "--reduced", str(reduced)]) == 0
    wanted = f"extract INPUTS --column text --id-column id --label-column label -o {reduced} --backbone pca:{made}"
    assert wanted in capsys.readouterr().out


def test_a_long_text_is_cut_and_its_lines_are_kept() -> None:
    assert ">" + "a" * 500 + "...<" in html.passage("a" * LONGEST, "")
    lines = html.passage("one \t two\r\nthree\u2028four\n\n\n\n\nfive\u00a0six\u3000seven", "")
    assert ">one two\nthree\nfour\n\nfive six seven<" in lines
    assert len(html.passage("\n" * 10_000, "")) < 200


def test_hostile_texts_are_shown_as_text() -> None:
    card = html.passage(NASTY, NASTY)
    assert read(card).tags == ["figure", "blockquote", "figcaption"]
    assert read(card).shown == 2 * "</blockquote></figure><script>alert(1)</script>&\"'\\x1b\\u202e"
    assert html.hidden_in(html.passage('<div class="missing hidden text">not shown</div>', "")) is None


def test_joiners_are_kept_where_letters_and_emoji_need_them() -> None:
    for text in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f467"):
        assert f">{text}<" in html.passage(text, "")


@given(st.text(max_size=700), st.text(max_size=40))
def test_whatever_a_text_holds_it_stays_in_its_card(value: str, caption: str) -> None:
    card = html.passage(value, caption)
    card.encode()
    reader = read(card)
    assert reader.tags == ["figure", "blockquote", "figcaption"]
    assert card.startswith('<figure class="text"><blockquote dir="auto">')
    assert card.endswith("</figcaption></figure>")
    assert all(c.isprintable() or c in "\n\u200c\u200d" for c in card)
