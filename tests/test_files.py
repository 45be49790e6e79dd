from __future__ import annotations

import ast
import ctypes
import errno
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fxengine import files
from fxengine.files import Replacement, read_small, replacing, replacing_folder
from tests.conftest import PATIENCE, ROOT

posix = pytest.mark.skipif(os.name != "posix", reason="locks and links of POSIX")
OURS = re.compile(r"\.(.*)\.tmp-[0-9a-f]{16}")
# Writes half of what sys.argv[2] is to become, says so, and waits: to be killed, or to be told to go on.
WRITER = (
    "import sys; from pathlib import Path; from fxengine import files\n"
    "make = files.replacing if sys.argv[1] == 'file' else files.replacing_folder\n"
    "with make(Path(sys.argv[2])) as new:\n"
    "    (new if sys.argv[1] == 'file' else new / 'inside').write_text('of the child')\n"
    "    print(new.name, flush=True)\n"
    "    sys.stdin.readline()\n"
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start(kind: str, target: Path) -> tuple[subprocess.Popen[str], str]:
    """Return a process that is in the middle of writing `target`, and the name of its temporary."""
    command = [sys.executable, "-c", WRITER, kind, str(target)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


@pytest.fixture(params=["file", "folder"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(kind: str, target: Path, text: str) -> None:
    if kind == "file":
        with replacing(target) as new:
            new.write_text(text)
    else:
        with replacing_folder(target) as new:
            (new / "inside").write_text(text)


def read(kind: str, target: Path) -> str:
    return (target if kind == "file" else target / "inside").read_text()


def test_what_was_there_is_replaced_and_nothing_else_is_left(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    for text in ("old", "new"):
        write(kind, target, text)
        assert read(kind, target) == text
        assert names(tmp_path) == ["out"]


def test_an_empty_file_waits_beside_its_place_under_a_name_of_its_own(tmp_path: Path) -> None:
    target, seen = tmp_path / "a b.csv", set()
    for _ in range(3):
        with replacing(target) as new:
            assert (new.parent, new.read_bytes()) == (tmp_path, b"")
            found = OURS.fullmatch(new.name)
            assert found is not None
            assert found[1] == "a b.csv"
            seen.add(new.name)
    assert len(seen) == 3


@pytest.mark.parametrize("name", ["x.parquet", "part-000001.parquet", "x.onnx", "x.npz"])
def test_no_pattern_of_whole_files_finds_one_that_is_being_written(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as new:
        assert not list(tmp_path.glob(f"*{Path(name).suffix}"))
        assert new.exists()


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "日" * 85, "a" * 100 + "." + "b" * 154], ids=len)
def test_the_longest_names_that_a_folder_takes_can_be_replaced(tmp_path: Path, name: str) -> None:
    for text in ("old", "new"):
        write("file", tmp_path / name, text)
    assert (tmp_path / name).read_text() == "new"
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")], ids=repr
)
def test_a_block_that_fails_changes_nothing(kind: str, tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out"
    with pytest.raises(type(error)):
        fail(kind, target, error)
    assert names(tmp_path) == []
    write(kind, target, "old")
    with pytest.raises(type(error)):
        fail(kind, target, error)
    assert read(kind, target) == "old"
    assert names(tmp_path) == ["out"]


def fail(kind: str, target: Path, error: BaseException) -> None:
    with (replacing if kind == "file" else replacing_folder)(target) as new:
        (new if kind == "file" else new / "inside").write_text("half")
        raise error


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_keeps_what_was_there(
    kind: str, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    write(kind, target, "old")
    original = Path.replace

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def into_place(path: Path, other: Path) -> Path:
        if path.name.startswith(".") and not other.name.startswith(".") and read(kind, path) == "new":
            full()
        return original(path, other)

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if call == "fsync" else (Path, "replace", into_place)))
        with pytest.raises(OSError, match="No space left on device"):
            write(kind, target, "new")
    assert read(kind, target) == "old"
    assert names(tmp_path) == ["out"]


def test_all_is_flushed_before_it_takes_its_place(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, flushed, fsync = tmp_path / "out", list[tuple[int, bool]](), os.fsync

    def noted(handle: int) -> None:
        flushed.append((os.fstat(handle).st_ino, target.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    write(kind, target, "new")
    before = [target] if kind == "file" else [target / "inside", target]
    assert flushed == [(path.stat().st_ino, False) for path in before] + [(tmp_path.stat().st_ino, True)]


def test_a_folder_that_cannot_be_flushed_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refused(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refused)
    write("file", tmp_path / "out", "new")
    assert (tmp_path / "out").read_text() == "new"


def test_a_folder_that_is_not_there_is_an_error_of_the_system(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(kind, tmp_path / "none" / "out", "new")


@posix
def test_a_link_is_replaced_and_what_it_points_to_untouched(kind: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(kind, tmp_path / "elsewhere" / "own", "own")
    target = tmp_path / "out"
    target.symlink_to(tmp_path / "elsewhere" / "own")
    write(kind, target, "new")
    assert not target.is_symlink()
    assert read(kind, target) == "new"
    assert read(kind, tmp_path / "elsewhere" / "own") == "own"
    assert names(tmp_path) == ["elsewhere", "out"]


@posix
def test_a_link_that_was_planted_under_the_temporary_name_is_not_followed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text("own")
    for planted in ("own", "nothing"):
        link = tmp_path / ".out.tmp-planted"
        link.symlink_to(tmp_path / planted)
        with monkeypatch.context() as patch:
            patch.setattr(secrets, "token_hex", lambda _: "planted")
            with pytest.raises(FileExistsError):
                write(kind, tmp_path / "out", "new")
        link.unlink()
    assert names(tmp_path) == ["own"]
    assert (tmp_path / "own").read_text() == "own"


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_that_of_the_umask(kind: str, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write(kind, tmp_path / "out", "new")
    finally:
        os.umask(before)
    folder = mode | (mode & 0o444) >> 2
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == (mode if kind == "file" else folder)


@posix
def test_what_a_killed_writer_left_is_gone_after_the_next_one(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(kind, target, "old")
    child, left = start(kind, target)
    child.send_signal(signal.SIGKILL)
    child.wait()
    write(kind, tmp_path / "out2", "another")
    assert names(tmp_path) == sorted([left, "out", "out2"])
    assert read(kind, target) == "old"
    write(kind, target, "new")
    assert names(tmp_path) == ["out", "out2"]
    assert read(kind, target) == "new"


@posix
def test_what_a_living_writer_writes_is_kept(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    child, other = start(kind, target)
    write(kind, target, "new")
    assert names(tmp_path) == sorted([other, "out"])
    child.communicate("go on\n", timeout=PATIENCE)
    assert child.returncode == 0
    assert names(tmp_path) == ["out"]
    assert read(kind, target) == "of the child"


@posix
def test_only_names_of_ours_are_removed(tmp_path: Path) -> None:
    kept = [
        ".out.tmp-", ".out.tmp-0123456789abcdeg", ".out.tmp-0123456789abcdef.txt", ".outer.tmp-0123456789abcdef",
        "out.tmp-0123456789abcdef", ".xout.tmp-0123456789abcdef", ".out.tmp-123",
    ]  # fmt: skip
    for name in kept:
        (tmp_path / name).write_text("somebody's")
    (tmp_path / "own").write_text("own")
    (tmp_path / ".out.tmp-0000000000000000").write_text("half")
    (tmp_path / ".out.tmp-1111111111111111").symlink_to(tmp_path / "own")
    os.mkfifo(tmp_path / ".out.tmp-2222222222222222")
    write("file", tmp_path / "out", "new")
    assert not (tmp_path / ".out.tmp-0000000000000000").exists()
    assert {*kept, "own", "out"} <= {*names(tmp_path)}
    assert (tmp_path / "own").read_text() == "own"


@posix
def test_a_temporary_that_was_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, tries = files._hold, list[Path]()

    def slow(path: Path, *, wait: bool) -> int | None:
        if wait and not tries:
            path.unlink()  # by another process, which finds it before it is locked
        tries.append(path)
        return hold(path, wait=wait)

    monkeypatch.setattr(files, "_hold", slow)
    write("file", tmp_path / "out", "new")
    assert len(set(tries)) == 2
    assert (tmp_path / "out").read_text() == "new"
    assert names(tmp_path) == ["out"]


@posix
def test_where_nothing_can_be_locked_nothing_of_others_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    with replacing(tmp_path / "out") as first:
        first.write_text("first")
        write("file", tmp_path / "out", "second")
    assert (tmp_path / "out").read_text() == "first"
    assert names(tmp_path) == ["out"]


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    target, failed = tmp_path / "out", list[BaseException]()

    def run(letter: str) -> None:
        try:
            for _ in range(15):
                write("file", target, letter * 100_000)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if target.exists():
            text = target.read_text()
            assert (len(text), len(set(text))) == (100_000, 1)
    assert failed == []
    assert names(tmp_path) == ["out"]


def test_a_replacement_that_is_closed_without_commit_leaves_nothing(tmp_path: Path) -> None:
    new = Replacement(tmp_path / "out")
    new.path.write_text("half")
    new.close()
    assert names(tmp_path) == []


def test_no_handle_is_left_open(kind: str, tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("handles are counted on Linux")
    write(kind, tmp_path / "out", "old")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        write(kind, tmp_path / "out", "new")
        with pytest.raises(ValueError, match="no"):
            fail(kind, tmp_path / "out", ValueError("no"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_it_loads_by_its_path_without_the_package(tmp_path: Path) -> None:
    """As train/children/train_child.py does, under an interpreter that has no fxengine."""
    code = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('files', sys.argv[1])\n"
        "files = importlib.util.module_from_spec(spec); spec.loader.exec_module(files)\n"
        "with files.replacing(pathlib.Path('out')) as new: new.write_text('new')\n"
        "assert 'fxengine' not in sys.modules"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT / "fxengine" / "files.py")]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=PATIENCE)
    assert (tmp_path / "out").read_text() == "new"


def _hand_made(path: Path) -> Iterator[str]:
    """Yield what a module does that only `fxengine/files.py` should: temporaries by hand, files that take a place."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in {"mkstemp", "mkdtemp", "NamedTemporaryFile", "fsync"}:
            yield node.attr
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.replace", "os.rename", "shutil.move"}:
            yield ast.unparse(node)


def test_no_other_module_replaces_files_by_hand() -> None:
    found = {
        str(path.relative_to(ROOT)): sorted(_hand_made(path))
        for path in (ROOT / "fxengine").rglob("*.py")
        if any(_hand_made(path))
    }
    assert found == {
        "fxengine/cache.py": ["mkdtemp"],  # no file's: a folder that a process keeps to its end
        "fxengine/files.py": ["fsync", "fsync"],
        "fxengine/reviewing/journal.py": ["fsync"],  # these two only grow
        "fxengine/reviewing/undo.py": ["fsync"],
        "fxengine/storage.py": ["mkstemp"],  # takes no file's place: it becomes an object
        # By handles of folders, and never over another file; asked once whether the system has that.
        "fxengine/reviewing/moving.py": ["fsync", "fsync", "os.rename", "os.rename"],
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes of this kind here")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    with replacing(pipe, or_into=True) as new:
        new.write_bytes(b"1,2\n")
        assert new.parent != tmp_path
    output, _ = reader.communicate(timeout=PATIENCE)
    assert output == b"1,2\n"
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    with replacing(pipe) as new:  # what nobody asked to be written to is replaced
        new.write_bytes(b"3\n")
    assert pipe.read_bytes() == b"3\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no such names here")
def test_standard_output_by_its_name_stays_what_it_is(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom fxengine.files import replacing\n"
        "for name in ('/dev/stdout', '/dev/null'):\n"
        "    with replacing(Path(name)) as new:\n        new.write_text('whole')\n"
    )
    kinds = {name: os.lstat(name).st_mode for name in ("/dev/stdout", "/dev/null")}
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=out, cwd=ROOT, timeout=PATIENCE)
    assert (tmp_path / "out").read_bytes() == b"whole"
    assert {name: os.lstat(name).st_mode for name in kinds} == kinds


def test_the_mode_of_what_is_replaced_is_kept(tmp_path: Path) -> None:
    for mode in (0o600, 0o444, 0o664):
        target = tmp_path / f"{mode:o}"
        target.write_text("old")
        target.chmod(mode)
        with replacing(target) as new:
            new.write_text("new")
        assert target.read_text() == "new"
        assert stat.S_IMODE(target.stat().st_mode) == mode


@posix
@pytest.mark.parametrize("owner", [4242, os.geteuid()])
def test_no_mode_is_taken_from_another_user_and_no_setuid_from_anybody(tmp_path: Path, owner: int) -> None:
    target = tmp_path / "a"
    target.write_text("planted")
    os.chown(target, owner, -1)
    target.chmod(0o6766)
    with replacing(target) as new:
        new.write_text("new")
    umask = os.umask(0)
    os.umask(umask)
    wanted = 0o766 if owner == os.geteuid() else 0o666 & ~umask
    assert stat.S_IMODE(target.stat().st_mode) == wanted


@posix
def test_a_file_that_took_the_place_of_the_temporary_is_not_put_anywhere(tmp_path: Path) -> None:
    target, other = tmp_path / "a", tmp_path / "other"
    target.write_text("old")
    other.write_text("another's")
    other.chmod(0o640)
    new = Replacement(target)
    new.path.unlink()
    new.path.hardlink_to(other)
    with pytest.raises(OSError, match="Another file took its place while it was written"):
        new.commit()
    new.close()
    assert target.read_text() == "old"
    assert stat.S_IMODE(other.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="no umask here")
def test_a_umask_that_forbids_the_owner_to_write(tmp_path: Path) -> None:
    kept = os.umask(0o222)
    try:
        with replacing(tmp_path / "a") as new:
            new.write_text("new")
    finally:
        os.umask(kept)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o444


def test_a_file_in_a_folder_that_may_not_be_written_to_is_written_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "plot.png"
    target.write_text("a longer old one")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if Path(path) == tmp_path else real(path, mode))
    with replacing(target) as new:
        assert new.parent == tmp_path
        new.write_text("a longer old one")
    before = target.stat().st_ino
    with replacing(target, or_into=True) as new:
        assert new.parent != tmp_path
        new.write_text("new")
    assert (target.read_text(), target.stat().st_ino) == ("new", before)


def test_a_file_that_is_mounted_by_itself_is_written_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "plot.png"
    target.write_text("old")

    def busy(self: Path, _: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(OSError, match="busy"), replacing(target) as new:
        new.write_text("new")
    assert target.read_text() == "old"
    with replacing(target, or_into=True) as new:
        new.write_text("new")
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_place_without_a_name_is_a_folder(name: str) -> None:
    with pytest.raises(IsADirectoryError), replacing(Path(name)):
        pass


def test_a_small_file_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note"
    with pytest.raises(FileNotFoundError):
        read_small(path, 5)
    path.write_bytes(b"\x1a1234")
    assert read_small(path, 5) == b"\x1a1234"
    with pytest.raises(OSError, match="It is longer than 4 bytes"):
        read_small(path, 4)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, strerror in {
        "link": "It is a link, and links are not followed",
        "dangling": "It is a link, and links are not followed",
        "pipe": "It is not a regular file",
        ".": "It is not a regular file",
    }.items():
        with pytest.raises(OSError, match=strerror) as raised:
            read_small(tmp_path / name, 5)
        assert (raised.value.strerror, raised.value.filename) == (strerror, str(tmp_path / name))


@posix
def test_temporaries_of_any_name_are_removed_but_for_those_that_are_written(tmp_path: Path) -> None:
    child, held = start("file", tmp_path / "held")
    (tmp_path / f".left.tmp-{'a' * 16}").touch()
    (tmp_path / f".folder.tmp-{'b' * 16}").mkdir()
    (tmp_path / ".no.tmp-temporary").touch()
    (tmp_path / "precious").touch()
    (tmp_path / f".link.tmp-{'c' * 16}").symlink_to("precious")
    files.remove_temporaries(tmp_path)
    assert names(tmp_path) == sorted([held, ".no.tmp-temporary", "precious", f".link.tmp-{'c' * 16}"])
    child.kill()
    child.wait()
    files.remove_temporaries(tmp_path)
    assert held not in names(tmp_path)


def names_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [0, errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_is_made_only_where_nothing_is(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on file systems without hard links, by Linux's rename that replaces nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if number:
        if sys.platform != "linux":
            pytest.skip("no rename that replaces nothing")
        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "part"
    for content, created in (("first", True), ("second", False)):
        made = files.Replacement(target)
        made.path.write_text(content)
        assert made.create() is created
        made.close()
        assert target.read_text() == "first"
    assert names_of(tmp_path) == ["part"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are hard links")
def test_a_file_system_without_either_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    (tmp_path / "new").write_text("x")
    with pytest.raises(OSError, match="neither hard links nor a rename that replaces nothing"):
        files.create_as(tmp_path / "new", tmp_path / "part")
    assert names_of(tmp_path) == ["new"]


def test_of_many_that_make_a_file_exactly_one_is_told_so(tmp_path: Path) -> None:
    def create(number: int) -> bool:
        (tmp_path / f"new{number}").write_text(str(number))
        return files.create_as(tmp_path / f"new{number}", tmp_path / "part")

    with ThreadPoolExecutor(8) as pool:
        created = [*pool.map(create, range(40))]
    assert sum(created) == 1
    assert (tmp_path / "part").read_text() == str(created.index(True))
