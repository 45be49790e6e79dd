"""What a text asks for, and folders as repositories."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fxengine.backbones.hub.repository import Asked, open_repository, parse
from fxengine.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("what", "asked"),
    [
        ("org/name", Asked("org/name")),
        ("gpt2", Asked("gpt2")),
        ("Xenova/all-MiniLM-L6-v2@main", Asked("Xenova/all-MiniLM-L6-v2", "main")),
        (f"org/name@{COMMIT}#onnx/model_int8.onnx", Asked("org/name", COMMIT, "onnx/model_int8.onnx")),
        ("org/name@refs/pr/4", Asked("org/name", "refs/pr/4")),
        ("org/name#a@b.onnx", Asked("org/name", None, "a@b.onnx")),
        ("/models/bert@x", Asked("/models/bert@x")),
        ("/models/bert#onnx/model.onnx", Asked("/models/bert", None, "onnx/model.onnx")),
        ("./bert", Asked("./bert")),
    ],
)
def test_what_a_text_asks_for(what: str, asked: Asked) -> None:
    assert parse(what) == asked
    assert asked.is_folder == what.startswith(("/", "."))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a/b/c", "'a/b/c' names no repository. Give ORG/NAME, ORG/NAME@REVISION, ORG/NAME#FILE, or a folder"),
        ("org/..", "'org/..' names no repository"),
        ("", "'' names no repository"),
        ("org/name@", "'' (after the @) is no revision: give a branch, a tag or a commit."),
        ("org/name@../x", "'../x' (after the @) is no revision"),
        ("org/name@-x", "'-x' (after the @) is no revision"),
        ("org/name#../secret", "'../secret' (after the #) is no file within a repository, such as onnx/model.onnx."),
        ("org/name#/etc/passwd", "'/etc/passwd' (after the #) is no file"),
        ("org/name#", "'' (after the #) is no file"),
    ],
)
def test_what_asks_for_nothing_is_refused(what: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(what)
    assert str(refused.value).startswith(said)


def test_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as refused:
        parse("https://somebody:hf_secret@huggingface.co/org/name")
    assert str(refused.value).startswith("An address names no repository. Give ORG/NAME,")
    assert "secret" not in str(refused.value)


def test_a_folder_is_a_repository_without_a_commit(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("of git")
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"a net")
    (tmp_path / "README.md").write_text("---\r\ntags:\r\n- x\r\nlicense: cc-by-nc-4.0\r\n---\r\nlicense: no\r\n")
    (tmp_path / "again.onnx").symlink_to(tmp_path / "onnx" / "model.onnx")
    (tmp_path / "round").symlink_to(tmp_path)
    found = open_repository(parse(str(tmp_path)))
    assert (found.name, found.commit, found.licence, found.whole) == (str(tmp_path), "", "cc-by-nc-4.0", True)
    assert found.files == ("README.md", "again.onnx", "onnx/model.onnx")
    assert found.sizes["onnx/model.onnx"] == found.sizes["again.onnx"] == 5
    assert found.path("onnx/model.onnx") == tmp_path / "onnx" / "model.onnx"
    assert found.is_here("again.onnx")
    with pytest.raises(InputError, match=r"has no file onnx/model.onxx. Did you mean onnx/model.onnx"):
        found.path("onnx/model.onxx")


def test_a_link_out_of_a_folder_is_refused_but_for_the_hubs_cache(tmp_path: Path) -> None:
    folder, snapshot = tmp_path / "folder", tmp_path / "models--org--name" / "snapshots" / ("a" * 40)
    blob = tmp_path / "models--org--name" / "blobs" / "0123"
    for place in (folder, snapshot, blob.parent):
        place.mkdir(parents=True)
    blob.write_bytes(b"a net")
    (tmp_path / "secret.md").write_text("---\nlicense: mit\n---\n")
    for place in (folder, snapshot):
        (place / "model.onnx").symlink_to(blob)
        (place / "README.md").symlink_to(tmp_path / "secret.md")
        found = open_repository(parse(str(place)))
        assert found.path("model.onnx") == blob
        assert found.licence == ""
        with pytest.raises(InputError, match=r"README.md is a link out of its folder: put a copy there"):
            found.path("README.md")


def test_a_folder_whose_name_has_a_sign_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "c#1").mkdir()
    assert parse(f"{tmp_path}/c#1") == Asked(f"{tmp_path}/c#1")


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 90400000\n"
    (tmp_path / "model.onnx").write_text(text)
    with pytest.raises(InputError) as refused:
        open_repository(Asked(str(tmp_path))).path("model.onnx")
    assert str(refused.value) == (
        f"model.onnx of {tmp_path} is a Git LFS pointer, not the file itself. Fetch it: `git lfs pull` in {tmp_path}."
    )


def test_a_file_that_grew_since_it_was_listed_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a net")
    found = open_repository(Asked(str(tmp_path)))
    (tmp_path / "model.onnx").write_bytes(b"a ne")
    with pytest.raises(InputError, match=r"is cut: it has 4 bytes of 5\."):
        found.path("model.onnx")


def test_no_folder_and_one_of_far_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"There is no folder /no/such/folder\."):
        open_repository(parse("/no/such/folder"))
    monkeypatch.setattr("fxengine.backbones.hub.folder._MOST", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    with pytest.raises(InputError, match=r"has more than 2 files: give the folder of one model\."):
        open_repository(Asked(str(tmp_path)))
