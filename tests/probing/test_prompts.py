from __future__ import annotations

from pathlib import Path

import pytest

from fxengine.errors import InputError
from fxengine.probing.prompts import DEFAULT, PHOTO, read_prompts


def test_a_class_keeps_its_name_and_is_asked_in_words(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffgolden_retriever\r\nn02123\ttabby cat\n  crêpe  \n".encode())
    found = read_prompts(path, None)
    assert found.classes == ("golden_retriever", "n02123", "crêpe")
    assert found.words == ("golden retriever", "tabby cat", "crêpe")
    assert found.templates == DEFAULT
    assert found.texts[0] == "a photo of a golden retriever."


def test_lines_may_be_a_list() -> None:
    found = read_prompts(["a", "b"], ["{}", "the {}, not {{}}: {}"])
    assert found.texts == ("a", "the a, not {a}: a", "b", "the b, not {b}: b")


def test_photo_is_a_list_and_a_path_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo").write_text("my {}\n")
    assert read_prompts(["a", "b"], "photo").templates == PHOTO
    assert read_prompts(["a", "b"], Path("photo")).templates == ("my {}",)
    assert read_prompts(["a", "b"], "./photo").templates == ("my {}",)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("", r"names.txt, line 1 is blank: a line is the name of a class."),
        ("a\n\nb\n", r"names.txt, line 2 is blank"),
        ("a\nb\n\n", r"names.txt, line 3 is blank"),
        ("a\n_\n", r"names.txt, line 2 is blank"),
        ("a\nb\t \n", r"names.txt, line 2 is blank"),
        ("a\nb\na\n", r"names.txt, line 3 names 'a' for the second time"),
        ("a\nb\na\tother words\n", r"names.txt, line 3 names 'a' for the second time"),
        ("a\n", r"`classes` must name at least two, to tell apart. Got 1."),
        ("a\n" + "b" * 1001, r"names.txt, line 2 has 1001 characters, more than the 1000 allowed."),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, classes: str, said: str) -> None:
    (tmp_path / "names.txt").write_text(classes)
    with pytest.raises(InputError, match=said):
        read_prompts(tmp_path / "names.txt", None)


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        ("a photo of {}\na photo\n", r"t.txt, line 2 has no {}, where the name of a class goes."),
        ("", r"t.txt, line 1 has no {}"),
        ([], r"`templates` holds none"),
        (["{0}"], r"`templates`, line 1 has no {}"),
    ],
)
def test_templates_that_cannot_be_used(tmp_path: Path, templates: str | list[str], said: str) -> None:
    given: Path | list[str] = tmp_path / "t.txt"
    if isinstance(templates, str):
        (tmp_path / "t.txt").write_text(templates)
    else:
        given = templates
    with pytest.raises(InputError, match=said):
        read_prompts(["a", "b"], given)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*none.txt: No such file"):
        read_prompts(tmp_path / "none.txt", None)
    (tmp_path / "names.txt").write_bytes("a\nb\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"names.txt is not UTF-8: save it as that."):
        read_prompts(tmp_path / "names.txt", None)
    with pytest.raises(InputError, match=r"Cannot read .*: It is not a regular file"):
        read_prompts(tmp_path, None)
    (tmp_path / "long.txt").write_bytes(b"a" * ((1 << 24) + 1))
    with pytest.raises(InputError, match=r"long.txt is longer than 16 MB"):
        read_prompts(tmp_path / "long.txt", None)
