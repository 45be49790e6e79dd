from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fxengine.backbones.hub import kaggle
from fxengine.backbones.hub.kaggle import Handle, fetch, licence_of, parse, resolve
from fxengine.errors import InputError
from tests.conftest import ROOT
from tests.kaggle_server import SIGNATURE, TOKEN, Kaggle, kaggle_server, use_kaggle

NET = Handle("google", "mobilenet-v2", "100-224-feature-vector")
FILES = {"saved_model.pb": b"a net" * 100, "variables/variables.index": b"index", "assets/labels.txt": b"cat\ndog\n"}
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def _server() -> Iterator[Kaggle]:
    with kaggle_server() as server:
        yield server


@pytest.fixture
def server(_server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kaggle:
    _server.forget()
    _server.models["google/mobilenet-v2/100-224-feature-vector"] = {1: FILES}
    use_kaggle(monkeypatch, _server.url, tmp_path / "kaggle")
    return _server


@pytest.mark.parametrize(
    "what",
    [
        "google/mobilenet-v2/tensorFlow2/100-224-feature-vector",
        "google/mobilenet-v2/TensorFlow2/100-224-feature-vector/",
        "https://www.kaggle.com/models/google/mobilenet-v2/tensorflow2/100-224-feature-vector",
    ],
)
def test_a_handle_is_read_as_kaggle_writes_it(what: str) -> None:
    assert parse(what) == NET
    assert str(NET) == "google/mobilenet-v2/tensorFlow2/100-224-feature-vector"


def test_a_handle_may_have_a_version() -> None:
    assert parse(f"{NET}/12") == replace(NET, version=12)
    assert str(replace(NET, version=12)) == f"{NET}/12"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5", "where TensorFlow Hub's are now"),
        ("https://user:secret@kaggle.com/models/google/a/tensorFlow2/b", "Give OWNER/MODEL/tensorFlow2/VARIATION"),
        ("nowhere", "'nowhere' names no model of Kaggle"),
        ("google/mobilenet-v2/tensorFlow2/../1", "names no model"),
        ("google/mobilenet-v2/tensorFlow2/b/0", "names no model"),
        ("google/mobilenet-v2/tfLite/b/1", "framework tfLite.*give google/mobilenet-v2/tensorFlow2/VARIATION"),
    ],
)
def test_what_is_no_handle_is_refused(what: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse(what)
    assert "secret" not in str(caught.value)


def test_a_model_is_fetched_once_in_its_newest_version(
    server: Kaggle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = resolve(NET)
    assert found == replace(NET, version=1)
    place = fetch(found)
    assert place.is_relative_to(tmp_path / "kaggle")
    assert {str(each.relative_to(place)): each.read_bytes() for each in place.rglob("*") if each.is_file()} == FILES
    assert licence_of(found) == "Apache 2.0"
    before = server.asked.total()
    assert (resolve(found), fetch(found)) == (found, place)
    assert server.asked.total() == before  # a version that is here asks nobody
    assert server.tokens == {f"Bearer {TOKEN}"}
    assert capfd.readouterr() == ("", "")
    assert not [each for each in tmp_path.rglob("*") if each.is_file() and TOKEN.encode() in each.read_bytes()]


def test_a_newer_version_at_the_server_is_taken(server: Kaggle) -> None:
    old = fetch(resolve(NET))
    server.models["google/mobilenet-v2/100-224-feature-vector"][2] = {"saved_model.pb": b"newer"}
    newest = resolve(NET)
    assert newest.version == 2
    assert (fetch(newest) / "saved_model.pb").read_bytes() == b"newer"
    assert fetch(replace(NET, version=1)) == old


def test_offline_the_newest_in_the_cache_is_taken(
    server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.models["google/mobilenet-v2/100-224-feature-vector"][10] = FILES
    places = {number: fetch(replace(NET, version=number)) for number in (1, 10)}
    (places[1].parent / "11").mkdir()  # half fetched
    use_kaggle(monkeypatch, NOWHERE, tmp_path / "kaggle")
    with caplog.at_level(logging.WARNING, "fxengine"):
        found = resolve(NET)
    assert found.version == 10
    assert caplog.messages == [f"fxengine: Kaggle cannot be reached: {NET}/10 is taken from the cache."]
    assert fetch(found) == places[10]
    assert licence_of(found) == ""
    with pytest.raises(InputError, match=rf"{NET}/11 is not in the cache, and Kaggle cannot be reached\. Try again"):
        fetch(replace(NET, version=11))
    with pytest.raises(InputError, match="google/other/tensorFlow2/a is not in the cache"):
        resolve(Handle("google", "other", "a"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses the credentials.*KAGGLE_API_TOKEN"),
        (403, "does not let you read google.*asks for consent"),
        (404, "There is no model google"),
        (429, "not in the cache, and Kaggle wants fewer requests"),
        (503, r"not in the cache, and Kaggle answers with an error \(status 503\)"),
    ],
)
def test_a_refusal_is_said_in_words(server: Kaggle, status: int, words: str) -> None:
    server.status = status
    for ask in (lambda: resolve(NET), lambda: fetch(replace(NET, version=1))):
        with pytest.raises(InputError, match=words) as caught:
            ask()
        assert [each for each in (TOKEN, SIGNATURE, server.url) if each in str(caught.value)] == []
        assert caught.value.__suppress_context__
    assert licence_of(NET) == ""


def test_a_page_for_people_is_no_answer(server: Kaggle) -> None:
    server.page = True
    for ask in (lambda: resolve(NET), lambda: fetch(replace(NET, version=1))):
        with pytest.raises(InputError, match="not in the cache, and Kaggle does not answer as it should"):
            ask()


def test_a_file_that_arrives_cut_or_damaged_is_fetched_again(server: Kaggle) -> None:
    asked = replace(NET, version=1)
    server.cut["saved_model.pb"] = 30
    with pytest.raises(InputError, match=r"A file of google/.*/1 arrived cut or damaged\. Try again"):
        fetch(asked)
    server.cut.clear()
    server.damaged.add("variables/variables.index")
    with pytest.raises(InputError, match="arrived cut or damaged"):
        fetch(asked)
    server.damaged.clear()
    assert (fetch(asked) / "saved_model.pb").read_bytes() == FILES["saved_model.pb"]


def test_what_is_no_saved_model_is_refused(server: Kaggle) -> None:
    server.models["google/mobilenet-v2/100-224-feature-vector"][2] = {"model.tflite": b"x"}
    with pytest.raises(InputError, match=r"has no saved_model\.pb"):
        fetch(replace(NET, version=2))


def test_a_damaged_file_of_credentials_is_told(server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "kaggle" / "config").mkdir(parents=True)
    (tmp_path / "kaggle" / "config" / "kaggle.json").write_text("{secret")
    with pytest.raises(InputError, match=r"credentials \(kaggle\.json\) is damaged") as caught:
        resolve(NET)
    assert "secret" not in str(caught.value)


def test_a_missing_kagglehub_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=r"pip install 'fxengine\[tfhub\]'"):
        resolve(NET)


def test_importing_it_loads_no_kagglehub() -> None:
    code = f"import sys, {kaggle.__name__}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"kagglehub", "kagglesdk", "requests"} & {name.split(".")[0] for name in done.stdout.split()}
