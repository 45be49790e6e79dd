"""The Hub by `huggingface_hub`, which talks to a server on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fxengine.backbones.hub import progress
from fxengine.backbones.hub.repository import Asked, Repository, open_repository
from fxengine.errors import InputError
from tests.backbones.hub.conftest import FILES
from tests.hub_server import SIGNATURE, Hub, use_hub

pytest.importorskip("huggingface_hub")
TINY = "org/tiny"


def tiny(revision: str | None = None) -> Repository:
    return open_repository(Asked(TINY, revision))


def test_only_what_is_asked_for_is_fetched_and_once(hub: Hub) -> None:
    commit = hub.repositories[TINY].refs["main"]
    found = tiny()
    assert (found.name, found.commit, found.licence, found.whole) == (TINY, commit, "apache-2.0", True)
    assert found.files == tuple(sorted(FILES))
    assert found.sizes == {name: len(content) for name, content in FILES.items()}
    assert hub.asked == {("GET", f"/api/models/{TINY}/revision/main"): 1}
    assert not found.is_here("config.json")
    for _ in range(2):
        assert found.path("onnx/model.onnx").read_bytes() == FILES["onnx/model.onnx"]
        assert found.path("config.json").read_bytes() == FILES["config.json"]
    assert found.is_here("config.json")
    assert hub.sent == {f"{TINY}/{name}": len(FILES[name]) for name in ("onnx/model.onnx", "config.json")}


def test_a_long_fetch_says_how_far_it_is(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    size = len(FILES["onnx/model.onnx"])
    tiny().path("onnx/model.onnx")
    told = [record.message for record in caplog.records if "fetching" in record.message]
    assert told
    assert all(line.startswith(f"fxengine: fetching onnx/model.onnx of {TINY}: ") for line in told)
    assert f"{size / 1e6:,.0f} of {size / 1e6:,.0f} MB" in told[-1]
    assert SIGNATURE not in caplog.text
    assert progress.said(45e6, 90e6, 40e6, 10.0) == "45 of 90 MB, 4.0 MB/s, 11 s left"
    assert progress.said(45e6, None, 45e6, 10.0) == "45 MB, 4.5 MB/s"


def test_a_commit_that_was_listed_asks_nobody(hub: Hub) -> None:
    first = tiny()
    first.path("config.json")
    hub.forget()
    again = tiny(first.commit)
    assert again == first
    assert again.path("config.json").read_bytes() == FILES["config.json"]
    assert not hub.asked


def test_a_branch_that_moves_gives_its_new_commit_and_leaves_the_old_one(hub: Hub) -> None:
    old = tiny()
    old.path("config.json")
    hub.repositories[TINY].commit({**FILES, "config.json": b"{}"})
    new = tiny()
    assert new.commit != old.commit
    assert new.path("config.json").read_bytes() == b"{}"
    assert old.path("config.json").read_bytes() == FILES["config.json"]
    assert tiny(old.commit).path("config.json").read_bytes() == FILES["config.json"]


def test_a_tag_is_resolved(hub: Hub) -> None:
    hosted = hub.repositories[TINY]
    commit = hosted.commit({"a": b"a"}, "refs/pr/1")
    assert (tiny("refs/pr/1").commit, tiny("refs/pr/1").files) == (commit, ("a",))
    assert tiny().commit == hosted.refs["main"] != commit


def test_everything_goes_offline_from_a_copy_of_the_caches(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tiny()
    seen.path("onnx/model.onnx")
    shutil.copytree(tmp_path / "hf", tmp_path / "elsewhere" / "hf", symlinks=True)
    shutil.copytree(tmp_path / "fx", tmp_path / "elsewhere" / "fx")
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "elsewhere" / "fx"))
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "elsewhere" / "hf", offline=True)
    hub.forget()
    found = tiny()
    assert found == seen
    path = found.path("onnx/model.onnx")
    assert path.read_bytes() == FILES["onnx/model.onnx"]
    assert path.is_relative_to(tmp_path / "elsewhere")
    with pytest.raises(InputError) as refused:
        found.path("config.json")
    assert str(refused.value) == (
        f"config.json of {TINY}@{found.commit[:12]} is not in the cache, and HF_HUB_OFFLINE is set. "
        "Try again with a network, or give a folder that it was downloaded to."
    )
    with pytest.raises(InputError, match=rf"^{TINY}@other is not in the cache, and HF_HUB_OFFLINE is set. There is:"):
        tiny("other")
    assert not hub.asked


def test_what_other_programs_fetched_serves_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import hf_hub_download

    for file in ("README.md", "onnx/model.onnx"):
        hf_hub_download(TINY, file, endpoint=hub.url, cache_dir=tmp_path / "hf" / "hub")
    use_hub(monkeypatch, hub.url, tmp_path / "hf", offline=True)
    found = tiny()
    assert (found.commit, found.licence) == (hub.repositories[TINY].refs["main"], "apache-2.0")
    assert (found.files, found.whole) == (("README.md", "onnx/model.onnx"), False)
    path = found.path("onnx/model.onnx")
    path.resolve().write_bytes(b"A net" * 1000)
    with pytest.raises(InputError, match="is not what its hash says"):
        found.path("onnx/model.onnx")
    with pytest.raises(InputError, match=r"has no file config\.json in the cache, and the Hub does not tell what else"):
        found.path("config.json")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_that_fails_leaves_what_the_cache_has(hub: Hub, status: int, caplog: pytest.LogCaptureFixture) -> None:
    hub.status = status
    with pytest.raises(
        InputError, match=rf"^{TINY}@main is not in the cache, and 127.0.0.1:\d+ .*\(?status {status}\)"
    ):
        tiny()
    hub.status = None
    seen = tiny()
    hub.status = status
    with caplog.at_level(logging.WARNING, "fxengine"):
        assert tiny() == seen
    assert f"{TINY}@main is taken from the cache, at {seen.commit[:12]}." in caplog.text


def test_no_network_and_no_answer_are_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.answers.clear()
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    with pytest.raises(InputError, match=r"does not answer in time \(HF_HUB_DOWNLOAD_TIMEOUT and .* are seconds\)"):
        tiny()
    hub.answers.set()
    use_hub(monkeypatch, "http://somebody:hf_secret@127.0.0.1:9", tmp_path / "hf")
    with pytest.raises(InputError) as refused:
        tiny()
    assert str(refused.value) == (
        f"{TINY}@main is not in the cache, and 127.0.0.1:9 cannot be reached. "
        "Try again with a network, or give a folder that it was downloaded to."
    )


def test_what_is_not_there_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "none").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        open_repository(Asked("org/none"))
    assert str(refused.value) == (
        "There is no repository org/none, or it is private: check the name, or log in (`hf auth login`, or HF_TOKEN). "
        "There is a folder of that name: give ./org/none."
    )
    with pytest.raises(
        InputError, match=rf"^{TINY} has no revision 'v9': give a branch, a tag or a commit that it has"
    ):
        tiny("v9")
    with pytest.raises(InputError, match=r"has no file onnx/model_int8.onnx. Did you mean onnx/model.onnx"):
        tiny().path("onnx/model_int8.onnx")


def test_a_gated_repository_says_how_to_log_in(hub: Hub) -> None:
    hub.repositories[TINY].gated = True
    with pytest.raises(InputError) as refused:
        tiny().path("config.json")
    host = hub.url.removeprefix("http://")
    assert str(refused.value) == (
        f"{TINY} is gated: ask for access at {host}/{TINY}, then log in (`hf auth login`, or HF_TOKEN) and try again."
    )


def test_a_token_opens_what_is_private_and_goes_nowhere_else(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[TINY].private = "hf_secret"
    with pytest.raises(InputError, match="or it is private"):
        tiny()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError) as refused:
        tiny()
    assert "hf_" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.forget()
    tiny().path("onnx/model.onnx")
    assert hub.asked["GET", f"/lfs/{TINY}/{tiny().commit}/onnx/model.onnx"] == 1
    assert hub.tokens[:3] == ["hf_secret", "hf_secret", ""]  # listed, found, and fetched from elsewhere


def test_the_statuses_of_a_token_are_told(hub: Hub) -> None:
    hub.status = 403
    with pytest.raises(InputError, match=rf"^The Hub does not let you read {TINY}\. Log in as somebody who may"):
        tiny()


def test_a_file_cut_short_is_refused_and_not_kept(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.cut[f"{TINY}/onnx/model.onnx"] = 700
    with pytest.raises(InputError, match=rf"^A file of {TINY} arrived cut, or there is no room to keep it\. Try again"):
        tiny().path("onnx/model.onnx")
    hub.cut.clear()
    assert tiny().path("onnx/model.onnx").read_bytes() == FILES["onnx/model.onnx"]
    assert capfd.readouterr() == ("", "")


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.broken[f"{TINY}/onnx/model.onnx"] = 700
    assert tiny().path("onnx/model.onnx").read_bytes() == FILES["onnx/model.onnx"]
    assert SIGNATURE not in "".join(capfd.readouterr())


def test_a_pointer_that_was_committed_as_the_file_is_told(hub: Hub) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
    hub.add(TINY, {"model.onnx": pointer}, lfs=False)
    with pytest.raises(InputError, match=r"is a Git LFS pointer, not the file itself\. Take another file\."):
        tiny().path("model.onnx")


@pytest.mark.parametrize("file", ["onnx/model.onnx", "config.json"])
def test_a_file_that_changed_in_the_cache_is_told(hub: Hub, file: str) -> None:
    found = tiny()
    path = found.path(file)
    path.resolve().write_bytes(FILES[file][:-1] + b"?")
    with pytest.raises(InputError) as refused:
        found.path(file)
    assert str(refused.value) == (
        f"{file} of {TINY}@{found.commit[:12]} is not what its hash says. Delete {path} and try again."
    )
    path.unlink()
    path.resolve().unlink(missing_ok=True)


def test_names_that_leave_the_repository_are_not_listed(hub: Hub) -> None:
    hub.add(TINY, {"../../x": b"x", "/etc/passwd": b"x", "a\\b": b"x", "c:d": b"x", "ok": b"x"})
    assert tiny().files == ("ok",)


def test_no_huggingface_hub_gives_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"need the package huggingface_hub: pip install 'fxengine\[hub\]'"):
        tiny()


CHILD = """
import json, sys
from fxengine.backbones.hub import progress
from fxengine.backbones.hub.repository import Asked, open_repository
from fxengine.errors import InputError
try:
    found = open_repository(Asked("org/tiny"))
    print(json.dumps([found.commit, str(found.path("onnx/model.onnx"))]))
except InputError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_a_process_of_its_own_goes_by_the_environment(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[TINY].private = "hf_secret"
    named = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "FXENGINE_CACHE": str(tmp_path / "fx")}

    def child(**more: str) -> object:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        ran = subprocess.run(
            [sys.executable, "-c", CHILD], capture_output=True, text=True, env={**kept, **named, **more}, check=True
        )
        assert "secret" not in ran.stdout + ran.stderr
        assert ran.stderr == ""
        return json.loads(ran.stdout)

    commit = hub.repositories[TINY].refs["main"]
    place = tmp_path / "home" / "hub" / "models--org--tiny" / "snapshots" / commit / "onnx" / "model.onnx"
    assert str(child()).startswith("There is no repository org/tiny, or it is private")
    assert child(HF_TOKEN="hf_secret") == [commit, str(place)]
    assert hashlib.sha256(place.read_bytes()).digest() == hashlib.sha256(FILES["onnx/model.onnx"]).digest()
    hub.forget()
    assert child(HF_HUB_OFFLINE="1") == [commit, str(place)]
    assert not hub.asked
