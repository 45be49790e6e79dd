"""A real S3 server in the process of the tests: moto, behind a socket, and what obstore reads of the environment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from fxengine.storage import open_bucket

KEY, SECRET = "AKIAEXAMPLEKEY", "example-secret-of-nobody"
NAME = "photos-of-tests"


@dataclass(frozen=True)
class Served:
    """A bucket that is served.

    Attributes:
        client: boto3's, which fills it.
        url: of the server.
        server: werkzeug's.
    """

    client: Any
    url: str
    server: Any

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=NAME, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=NAME, Key=key)

    def listed(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=NAME).get("Contents", ())]

    def put_folder(self, folder: Path, prefix: str = "") -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{prefix}{path.relative_to(folder)}", path.read_bytes())

    def put_time(self, key: str, seconds: int) -> None:
        """Say that a key was written at another time."""
        from datetime import UTC, datetime

        from moto.s3.models import s3_backends

        backend = next(iter(s3_backends.values()))["aws"]
        backend.buckets[NAME].keys[key].last_modified = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


@contextmanager
def watched(bucket: Served) -> Iterator[list[tuple[str, str, str]]]:
    """Yield a list that takes in the method, the path and the range of every request, "" for no range."""
    app, seen = bucket.server.app, list[tuple[str, str, str]]()

    def ask(environ: dict[str, Any], start: Any) -> Any:
        seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", "")))
        return app(environ, start)

    bucket.server.app = ask
    try:
        yield seen
    finally:
        bucket.server.app = app


@contextmanager
def served(patch: pytest.MonkeyPatch, *, threaded: bool = True) -> Iterator[Served]:
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=threaded)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.port}"
    environment(patch, url)
    open_bucket.cache_clear()
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket=NAME)
    try:
        yield Served(client, url, server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        s3_backends.reset()
        open_bucket.cache_clear()


def environment(patch: pytest.MonkeyPatch, url: str) -> None:
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_ALLOW_HTTP", "true")
    patch.setenv("AWS_ACCESS_KEY_ID", KEY)
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("AWS_REGION", "us-east-1")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
