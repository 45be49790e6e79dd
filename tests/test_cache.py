"""The cache's folder: whose it is, who can write to it, and that all works without one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fxengine import FeatureStore, InputError, cache, extract, trust
from fxengine.backbones.spec import BackboneFile
from fxengine.repair.doctor import doctor
from tests.conftest import ROOT
from tests.unprivileged import permissions_bind


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_own", None)
    monkeypatch.setattr(cache, "_told", False)
    return tmp_path / "cache"


def write(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "fxengine"]


def test_what_is_kept_is_found(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert cache.find("sources/a") is None
    assert cache.keep("sources/a", write("one")) == folder / "sources" / "a"
    assert cache.find("sources/a") == folder / "sources" / "a"
    cache.keep("sources/a", write("two"))
    assert (folder / "sources" / "a").read_text() == "two"
    assert {oct(path.stat().st_mode & 0o777) for path in (folder, folder / "sources")} == {"0o700"}
    assert told(caplog) == []


@pytest.mark.parametrize("name", ["int8/../sources/a", "int8//etc/passwd", "int8/..", "int8/", "int8/a\0b"])
def test_a_name_is_no_path_to_elsewhere(name: str) -> None:
    cache.keep("sources/a", write("one"))
    assert cache.find(name) is None


def test_a_link_and_a_foreign_file_are_not_ours(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net").write_text("another's")
    cache.kind_folder("fp16")
    (folder / "fp16" / "linked").symlink_to(tmp_path / "net")
    assert cache.find("fp16/linked") is None
    cache.keep("fp16/linked", write("ours"))
    assert ((tmp_path / "net").read_text(), (folder / "fp16" / "linked").read_text()) == ("another's", "ours")
    os.chown(folder / "fp16" / "linked", 4242, -1)
    assert cache.find("fp16/linked") is None


def test_a_folder_that_others_can_write_to_is_refused(folder: Path, tiny: BackboneFile, photos: Path) -> None:
    cache.keep("sources/a", write("one"))
    folder.chmod(0o777)
    message = (
        rf"Others can write to the cache folder {folder}: .* Set FXENGINE_CACHE to another\. .*`chmod go-w {folder}`"
    )
    uses: list[Callable[[], object]] = [
        cache.cache_folder,
        lambda: cache.find("sources/a"),
        lambda: cache.keep("sources/a", write("two")),
    ]
    for use in uses:
        with pytest.raises(InputError, match=message):
            use()
    with pytest.raises(InputError, match=message):
        extract(photos, folder.with_name("s"), backbone="efficientnet_lite0")
    assert (folder / "sources" / "a").read_text() == "one"
    folder.chmod(0o750)
    assert cache.find("sources/a") is not None
    (folder / "sources").chmod(0o770)  # behind a door that is ajar
    with pytest.raises(InputError, match=rf"Others can write to the cache folder {folder}/sources"):
        cache.find("sources/a")
    folder.chmod(0o700)  # a umask of 002 leaves it so
    assert cache.find("sources/a") is not None


def test_another_users_folder_is_refused_and_roots_is_not(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    os.chown(folder, 4242, -1)
    with pytest.raises(InputError, match=r"belongs to another user \(number 4242\)"):
        cache.cache_folder()
    os.chown(folder, 0, -1)
    (folder / "int8").mkdir()
    os.chown(folder / "int8", 4242, -1)
    with pytest.raises(InputError, match=r"cache/int8 belongs to another user"):
        cache.find("int8/a")


def test_a_link_to_a_folder_is_followed_where_both_are_ours(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large disk").mkdir(mode=0o700)
    folder.symlink_to("large disk")
    cache.keep("sources/a", write("one"))
    assert (tmp_path / "large disk" / "sources" / "a").read_text() == "one"
    os.lchown(folder, 4242, -1)
    with pytest.raises(InputError, match="belongs to another user"):
        cache.cache_folder()


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    found = {}
    for named in ("here", "~/there", ""):
        monkeypatch.setenv("FXENGINE_CACHE", named)
        found[named] = cache.cache_folder()
    assert found == {
        "here": tmp_path / "here",
        "~/there": tmp_path / "home" / "there",
        "": tmp_path / "home" / ".cache" / "fxengine",
    }
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "fxengine"


def file_in_its_place(folder: Path, patch: pytest.MonkeyPatch) -> str:
    folder.write_text("in the way")
    return "File exists"


def no_parent(folder: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setenv("FXENGINE_CACHE", "/proc/nowhere")
    return "No such file or directory"


def no_home(folder: Path, patch: pytest.MonkeyPatch) -> str:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    patch.delenv("FXENGINE_CACHE")
    patch.delenv("XDG_CACHE_HOME", raising=False)
    patch.setattr(Path, "home", unknown)
    return "there is no home directory"


def full(folder: Path, patch: pytest.MonkeyPatch) -> str:
    real = Path.write_bytes

    def refuse(path: Path, data: bytes) -> int:
        if folder in path.parents:
            raise OSError(28, "No space left on device", str(path))
        return real(path, data)

    patch.setattr(Path, "write_bytes", refuse)
    return "No space left on device"


@pytest.mark.parametrize("fault", [file_in_its_place, no_parent, no_home, full])
def test_without_a_cache_all_works_and_the_reason_is_told_once(
    fault: Callable[[Path, pytest.MonkeyPatch], str],
    folder: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reason = fault(folder, monkeypatch)
    with caplog.at_level(logging.WARNING, "fxengine"):
        summary = extract(photos, tmp_path / "s", limit=2)  # with the embedded net
    assert summary.extracted == 2
    (message,) = told(caplog)
    assert message.startswith("fxengine: the cache")
    assert f"cannot be used ({reason}): what it saves takes its time again." in message
    opened = FeatureStore.open(tmp_path / "s")
    assert opened.vectors(mmap=True).shape == (2, 1280)
    assert list(cache.working_folder("logs").iterdir()) == []


def test_what_is_kept_for_a_process_alone_goes_with_it(folder: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from fxengine import cache\n"
        "made = cache.keep('sources/a', Path.touch)\n"
        "print(made == cache.find('sources/a'), made, flush=True)"
    )
    folder.mkdir()
    folder.chmod(0o500)
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=permissions_bind,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=True,
    )
    found, path = done.stdout.split()
    assert (found, Path(path).parents[2], Path(path).exists()) == ("True", tmp_path, False)
    assert done.stderr == (
        f"fxengine: the cache {folder} cannot be used (Permission denied): what it saves takes its time again. "
        "Set FXENGINE_CACHE to a folder that can be written to.\n"
    )
    assert [path for path in tmp_path.iterdir() if path.name.startswith("fxengine-cache-")] == []


HEX = "0123456789abcdef" * 4
OURS = {
    "backbones": f"{HEX}.onnx",
    "sources": f"efficientnet_lite0-4-{HEX[:16]}.json",
    "pairs": f"{HEX}.json",
    "precision": f"{HEX[:32]}.json",
    "fp16": f"{HEX}.onnx",
    "tensorrt": f"{HEX[:32]}",
    "notes": f"{HEX[:32]}",
    "vectors": f"{HEX[:32]}-{HEX[32:]}.npy",
    "words": f"{HEX[:32]}-{HEX[32:]}.json",
    "thumbnails": f"{HEX}.jpg",
    "logs": "keras-20261127-031822-4711.log",
    "int8": f"{HEX}.onnx",
    "named": f"root-{HEX}",
    "hub": f"{HEX[:32]}.json",
}


def test_cleaning_leaves_what_costs_more_than_time(folder: Path, tmp_path: Path) -> None:
    for kind in cache.KINDS:
        if kind != "tensorrt":
            cache.keep(f"{kind}/{OURS[kind]}", write("x" * 1000))
    cache.working_folder(f"tensorrt/{OURS['tensorrt']}").joinpath("b").write_text("x" * 500)
    trust.note_named("root", "/photos")
    (folder / "mine").write_text("of nobody we know")
    (folder / "vectors" / f".b.npy.tmp-{'0' * 16}").write_text("x" * 250)  # of a process that was killed
    (folder / "tensorrt" / OURS["tensorrt"] / "out").symlink_to(tmp_path)
    assert (cache.sizes()["tensorrt"], cache.sizes()["vectors"]) == (500, 1250)
    (finding,) = doctor(clean_cache=True).findings
    kept = "int8 1,000 bytes, named 1,000 bytes, hub 1,000 bytes"
    assert finding.found.startswith(f"10,750 bytes freed; {folder}, 3,000 bytes ({kept});")
    assert cache.sizes() == {"int8": 1000, "named": 1000, "hub": 1000}
    assert trust.was_named("root", "/photos")
    assert tmp_path.exists()
    assert (folder / "mine").exists()
    assert cache.clean() == 0


def test_cleaning_removes_no_name_that_is_not_given_here(folder: Path) -> None:
    theirs = ["main.c", "settings.json", "net.onnx", "a-b.npy", "run.log", ".hidden"]
    for kind in cache.KINDS:
        for name in theirs:
            (cache.kind_folder(kind) / name).write_text("a project's own")
    (folder / "logs" / "x").mkdir()
    assert cache.clean() == 0
    assert {kind: sorted(path.name for path in (folder / kind).iterdir()) for kind in cache.KINDS} == {
        kind: sorted([*theirs, "x"] if kind == "logs" else theirs) for kind in cache.KINDS
    }


@pytest.mark.parametrize("kind", ["vectors", "int8"])
def test_a_kinds_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / OURS[kind]).write_text("x" * 1000)
    cache.cache_folder().joinpath(kind).symlink_to(tmp_path / "victim")
    assert cache.sizes() == {}
    with pytest.raises(InputError, match=rf"{folder}/{kind} is a link, and none is followed within the cache: delete"):
        cache.clean()
    with pytest.raises(InputError, match="is a link"):
        cache.keep(f"{kind}/a", write("one"))
    assert [path.name for path in (tmp_path / "victim").iterdir()] == [OURS[kind]]


def test_the_doctor_tells_an_unsafe_cache_from_one_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.keep(f"vectors/{OURS['vectors']}", write("x" * 2_600_000))
    (finding,) = doctor(clean_cache=True).findings
    assert (finding.found, finding.advice) == (f"2.6 MB freed; {folder}, 0 bytes; deleting it loses only time", None)
    folder.chmod(0o777)
    (finding,) = doctor(clean_cache=True).findings
    assert finding.found == "not safe"
    assert finding.advice is not None
    assert finding.advice.startswith("Others can write to the cache folder")
    monkeypatch.setenv("FXENGINE_CACHE", "/proc/nowhere")
    (finding,) = doctor(clean_cache=True).findings
    assert finding.found.startswith("cannot be written: No such file or directory: /proc/nowhere; all works")
    assert finding.advice == "set FXENGINE_CACHE to a folder that can."
