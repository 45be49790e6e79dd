"""The lease of a store in a bucket: one holder, until it gives it back, loses it or is known to be dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from fxengine.errors import StoreError, StoreLocked
from fxengine.features import lease
from fxengine.features.holder import Holder
from fxengine.features.lease import leased
from fxengine.features.lock import locked
from fxengine.storage import Bucket, Found
from tests.buckets import NAME, Served
from tests.conftest import PATIENCE, wait_until

PLACE, KEY = Path(f"s3:/{NAME}/features"), "features/_run/lease"


def content(bucket: Served) -> bytes:
    return bytes(bucket.client.get_object(Bucket=NAME, Key=KEY)["Body"].read())


def note_of(pid: int, machine: str, term: float = 60.0) -> bytes:
    holder = asdict(Holder(pid, "elsewhere", 1_700_000_000.0))
    return json.dumps({"format": 1, "holder": holder, "term": term, "machine": machine, "token": "0" * 16}).encode()


def test_one_holds_it_and_gives_it_back(bucket: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with locked(PLACE) as ensure_held:
        ensure_held()
        said = json.loads(content(bucket))
        assert (said["holder"]["pid"], said["term"]) == (os.getpid(), 60.0)
        with (
            pytest.raises(StoreLocked, match=rf"s3://{NAME}/features is being written to by process {os.getpid()} on"),
            locked(PLACE),
        ):
            pass
        assert json.loads(content(bucket)) == said
    assert content(bucket) == b""
    with locked(PLACE):
        pass
    found = bucket.client.list_objects_v2(Bucket=NAME)["Contents"]
    assert [each["Key"] for each in found] == [KEY]  # what was tried out is gone
    assert not [*tmp_path.iterdir()]


def test_of_many_that_ask_at_once_one_gets_it(bucket: Served) -> None:
    got, refused, all_have_asked = [], [], threading.Barrier(8)

    def ask() -> None:
        try:
            with leased(PLACE):
                got.append(1)
                all_have_asked.wait(PATIENCE)
        except StoreLocked:
            refused.append(1)
            all_have_asked.wait(PATIENCE)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


@pytest.mark.parametrize(("age", "is_free"), [(5, False), (40, False), (63, True)])
def test_it_is_taken_over_once_it_has_expired_by_the_servers_clock(
    age: int, is_free: bool, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(KEY, note_of(1, "another"))
    bucket.put_time(KEY, int(time.time()) - age)
    monkeypatch.setattr(time, "time", lambda: 5.0)  # whatever ours says
    if is_free:
        with leased(PLACE) as ensure_held:
            ensure_held()
        return
    with (
        pytest.raises(StoreLocked, match=r"process 1 on elsewhere since 2023-11-1.* ends in \d+ seconds"),
        leased(PLACE),
    ):
        pass
    assert content(bucket) == note_of(1, "another")


def of_a_process_that_cannot_be() -> bytes:
    note = json.loads(note_of(1, lease._machine()))
    return json.dumps({**note, "holder": {**note["holder"], "pid": 10**30}}).encode()


@pytest.mark.parametrize("said", [b"nothing of ours", b"x" * 10_000, of_a_process_that_cannot_be()])
def test_one_that_cannot_be_read_holds_for_the_usual_term(said: bytes, bucket: Served) -> None:
    bucket.put(KEY, said)
    with pytest.raises(StoreLocked, match="by another process"), leased(PLACE):
        pass
    bucket.put_time(KEY, int(time.time()) - 63)
    with leased(PLACE):
        pass


@pytest.mark.skipif(not lease._machine(), reason="this system does not tell machines apart")
def test_that_of_a_process_of_this_machine_ends_with_it(bucket: Served) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    bucket.put(KEY, note_of(int(dead.stdout), lease._machine()))
    with leased(PLACE):
        pass
    bucket.put(KEY, note_of(os.getppid(), lease._machine()))
    with pytest.raises(StoreLocked), leased(PLACE):
        pass


def test_it_is_renewed_in_time_and_its_loss_is_told(bucket: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TERM", 0.4)
    with leased(PLACE) as ensure_held:
        first = bucket.client.head_object(Bucket=NAME, Key=KEY)
        bucket.put_time(KEY, 1000)
        wait_until(lambda: bucket.client.head_object(Bucket=NAME, Key=KEY)["LastModified"] >= first["LastModified"])
        ensure_held()
        bucket.put(KEY, note_of(1, "another"))
        with pytest.raises(StoreLocked, match=r"Another process writes to s3://.*What was committed stays"):
            until_lost(ensure_held)
    assert content(bucket) == note_of(1, "another")  # what is lost is not given back


def test_who_was_stopped_goes_on_where_nobody_has_taken_it(bucket: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TERM", 0.2)
    monkeypatch.setattr(lease._Lease, "keep", lambda _: None)
    with leased(PLACE) as ensure_held:
        time.sleep(0.3)
        ensure_held()
        time.sleep(0.3)
        monkeypatch.setattr(Bucket, "replace", lambda *_: broken())
        with pytest.raises(StoreError, match="cannot be written to any more: the server cannot be reached"):
            ensure_held()
        monkeypatch.undo()
        bucket.put(KEY, note_of(1, "another"))
        time.sleep(0.3)
        with pytest.raises(StoreLocked, match="Another process"):
            ensure_held()


def until_lost(ensure_held: Callable[[], None]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ensure_held()
        time.sleep(0.05)


def broken() -> None:
    raise OSError(5, "the server cannot be reached")


def test_an_answer_that_was_lost_is_no_loss(bucket: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Bucket.create

    def forgetful(self: Bucket, key: str, content: bytes) -> Found | None:
        made = create(self, key, content)
        return None if key == KEY else made

    monkeypatch.setattr(Bucket, "create", forgetful)
    with leased(PLACE) as ensure_held:
        ensure_held()
    assert content(bucket) == b""


@pytest.mark.parametrize("heeds", ["create", "replace", "nothing"])
def test_a_server_that_heeds_no_conditions_is_refused(
    heeds: str, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Bucket._put

    def careless(self: Bucket, key: str, content: bytes, mode: object) -> Found | None:
        kept = heeds == ("create" if mode == "create" else "replace")
        return put(self, key, content, mode if kept else "overwrite")

    monkeypatch.setattr(Bucket, "_put", careless)
    with (
        pytest.raises(StoreError, match="cannot hold a store: its server does not write on a condition"),
        locked(PLACE),
    ):
        pass
    assert "Contents" not in bucket.client.list_objects_v2(Bucket=NAME)


def test_without_a_bucket_or_rights_a_sentence_says_so(bucket: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("s3:/none-of-that-name/features")
    with (
        pytest.raises(StoreError, match="Cannot write to s3://none-of-that-name/features: there is no bucket"),
        locked(place),
    ):
        pass

    def refused(*_: object) -> None:
        raise PermissionError(13, "the server refuses these credentials (403 AccessDenied)")

    monkeypatch.setattr(Bucket, "_put", refused)
    with pytest.raises(StoreError, match=r"Cannot write to .*refuses these credentials.*Look at"), locked(PLACE):
        pass
